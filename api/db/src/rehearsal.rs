//! Rehearsed writes.

tokio::task_local! {
    static REHEARSED: ();
}

/// Runs `work`, in which every writing verb does all that it would do, answers, and is undone: so a
/// refusal that only the write itself finds out is known beforehand. It holds for this future alone,
/// not for tasks that it spawns.
pub async fn rehearse<T>(work: impl Future<Output = T>) -> T {
    REHEARSED.scope((), work).await
}

/// Whether the caller rehearses. An engine asks it at the beginning of each writing verb.
pub fn is_rehearsed() -> bool {
    REHEARSED.try_with(|()| ()).is_ok()
}
