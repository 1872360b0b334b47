//! What one guest hears of another.

/// A guest's script: it asks the neighbour at this address for its page, which begins with the neighbour's
/// id, and says on its console what came: `neighbour says: [...]`.
pub fn ask(neighbour: &str) -> String {
    format!(
        "#!/bin/sh
for try in 1 2 3 4 5 6 7 8 9 10; do
  answer=$(printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {neighbour} 80 2>/dev/null | tail -n 1)
  [ -n \"$answer\" ] && break
  sleep 1
done
echo \"neighbour says: [$answer]\"
"
    )
}
