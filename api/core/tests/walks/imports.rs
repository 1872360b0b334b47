//! From every state of an import.

use tepui_core::{Error, ImportRequest, ImportedImage};
use tepui_db::model::{Image, ImportEvent, ImportState, ImportTask};
use tepui_db::{ImageDb as _, TokenUse};
use tepui_types::{Digest, ImportTaskId};

use super::harness::Harness;
use super::{ONE_AT_A_TIME, Way, cut_off, points};

/// Longer than anything of an import is remembered.
const RETENTION: i64 = 31 * 24 * 3600;

#[derive(Debug, Clone, Copy)]
enum Act {
    /// The client repeats its call.
    Again,
    /// It uses the token for another image.
    TokenMisused,
    /// News of the way, which come late where the import is over.
    Progress,
    Ends(ImportEvent, Way),
    /// Both ends at once.
    EndsBothWays,
    /// Another import takes the name.
    NameTaken,
    /// The control plane dies, and its next process goes on with the download, or cannot.
    ControlDies {
        goes_on: bool,
    },
}

impl Act {
    fn all() -> Vec<Self> {
        let ends = ImportEvent::ALL.iter().flat_map(|event| {
            let operation = match event {
                ImportEvent::Complete => "import",
                ImportEvent::Fail => "one transaction",
            };
            Way::all(operation).into_iter().map(|way| Self::Ends(*event, way))
        });
        let of_completion = |act: &Self| !matches!(act, Self::Ends(_, Way::KilledAt("core::import::begun")));
        ends.filter(of_completion)
            .chain([Self::Again, Self::TokenMisused, Self::Progress, Self::EndsBothWays, Self::NameTaken])
            .chain([true, false].map(|goes_on| Self::ControlDies { goes_on }))
            .collect()
    }
}

/// One import, as it should be.
struct World {
    t: Harness,
    number: u32,
    id: ImportTaskId,
    state: ImportState,
}

#[tokio::test]
async fn from_every_state_of_an_import_everything_ends_at_rest_and_nothing_is_left() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut t = Harness::new().await;
    let mut number = 0;
    for state in ImportState::ALL {
        for act in Act::all() {
            number += 1;
            println!("{state:?}, {act:?}");
            let mut world = World::begun(t, number).await;
            world.set(*state).await;
            world.happens(act).await;
            world.rests().await;
            world.is_deleted().await;
            t = world.t;
        }
    }
    for point in points("import").take(1) {
        number += 1;
        assert!(cut_off(point, t.cloud.begin_import(&t.admin, request(number, 1))).await);
        t.cloud = t.restarted();
        assert_eq!(t.cloud.fail_interrupted_imports(&[]).await.unwrap().len(), 1);
        let repeated = t.cloud.begin_import(&t.admin, request(number, 1)).await.unwrap();
        assert!(repeated.repeated && repeated.task.state == ImportState::Failed);
    }
    t.clock.advance(RETENTION);
    t.cloud.reconcile_once().await;
    assert_eq!(t.cloud.import_tasks(&t.admin, &[]).await.unwrap(), []);
    assert_eq!(t.cloud.tags(&t.admin).await.unwrap().len(), 0);
    assert_eq!(t.db.digests_in_use().await.unwrap(), []);
}

fn name(number: u32) -> String {
    format!("image-{number}")
}

fn request(number: u32, parameters: u8) -> ImportRequest {
    ImportRequest {
        name: Some(name(number)),
        description: String::new(),
        source: "s".into(),
        public: false,
        tags: [("a".into(), "b".into())].into(),
        token: Some(TokenUse { token: format!("t-{number}"), parameters_sha256: [parameters; 32] }),
    }
}

impl World {
    async fn begun(t: Harness, number: u32) -> Self {
        let begun = t.cloud.begin_import(&t.admin, request(number, 1)).await.unwrap();
        Self { t, number, id: begun.task.id, state: ImportState::Active }
    }

    async fn set(&mut self, state: ImportState) {
        match state {
            ImportState::Active => {}
            ImportState::Completed => self.ends(ImportEvent::Complete).await,
            ImportState::Failed => self.ends(ImportEvent::Fail).await,
        }
    }

    async fn happens(&mut self, act: Act) {
        let (cloud, admin) = (self.t.cloud.clone(), self.t.admin.clone());
        match act {
            Act::Again => {
                let again = cloud.begin_import(&admin, request(self.number, 1)).await.unwrap();
                assert!(again.repeated && again.task == self.task().await);
            }
            Act::TokenMisused => {
                let refused = cloud.begin_import(&admin, request(self.number, 2)).await;
                assert!(matches!(refused, Err(Error::TokenMismatch { .. })), "{refused:?}");
            }
            Act::Progress => {
                let told = cloud.import_progress(&admin, self.id, 50, "half").await;
                match self.state {
                    ImportState::Active => told.unwrap(),
                    ImportState::Completed | ImportState::Failed => assert_refused(&told),
                }
            }
            Act::Ends(event, way) => self.ends_so(event, way).await,
            Act::EndsBothWays => {
                let fail = cloud.fail_import(&admin, self.id, "broke off");
                let _either = futures::join!(self.complete(), fail);
                self.state = self.task().await.state;
            }
            Act::NameTaken => self.name_is_taken().await,
            Act::ControlDies { goes_on } => self.dies(goes_on).await,
        }
        self.assert_state().await;
    }

    async fn ends_so(&mut self, event: ImportEvent, way: Way) {
        match way {
            Way::Answered => {}
            Way::AnswerLost => self.ends(event).await,
            Way::KilledAt(point) => {
                let came = cut_off(point, self.complete()).await;
                assert_eq!(came, self.state.after(event).is_some(), "{point}");
                if came && point == "core::import::completed" {
                    self.state = ImportState::Completed;
                }
                self.dies(true).await;
            }
        }
        self.ends(event).await;
    }

    /// It comes to an end, or is told that it has, as the table says.
    async fn ends(&mut self, event: ImportEvent) {
        match event {
            ImportEvent::Fail => self.t.cloud.fail_import(&self.t.admin, self.id, "broke off").await.unwrap(),
            ImportEvent::Complete => {
                let completed = self.complete().await;
                match self.state.after(event) {
                    Some(_) => drop(completed.unwrap()),
                    None => assert_refused(&completed),
                }
            }
        }
        self.state = self.state.after(event).unwrap_or(self.state);
        self.assert_state().await;
    }

    async fn complete(&self) -> Result<Image, Error> {
        self.complete_as(self.id).await
    }

    async fn complete_as(&self, id: ImportTaskId) -> Result<Image, Error> {
        let imported = ImportedImage {
            digest: Digest::of(&self.number.to_le_bytes()),
            size_bytes: 1 << 30,
            login_user: "debian".into(),
            public: false,
        };
        self.t.cloud.complete_import(&self.t.admin, id, imported).await
    }

    /// Another import of the same name is refused while an image has it, and otherwise done first.
    async fn name_is_taken(&mut self) {
        let rival = ImportRequest { token: None, ..request(self.number, 1) };
        let begun = self.t.cloud.begin_import(&self.t.admin, rival).await;
        if self.state == ImportState::Completed {
            assert!(matches!(begun, Err(Error::AlreadyExists { .. })), "{begun:?}");
            return;
        }
        let rival = begun.unwrap().task.id;
        self.complete_as(rival).await.unwrap();
        let late = self.complete().await;
        match self.state {
            ImportState::Active => assert!(matches!(late, Err(Error::AlreadyExists { .. })), "{late:?}"),
            ImportState::Completed | ImportState::Failed => assert_refused(&late),
        }
        self.t.cloud.fail_import(&self.t.admin, self.id, "its name was taken").await.unwrap();
        self.state = ImportState::Failed;
        let image = self.images().await.remove(0);
        self.t.cloud.deregister_image(&self.t.admin, image.id).await.unwrap();
    }

    async fn dies(&mut self, goes_on: bool) {
        self.t.cloud = self.t.restarted();
        let kept = if goes_on { vec![self.id] } else { Vec::new() };
        let failed = self.t.cloud.fail_interrupted_imports(&kept).await.unwrap();
        assert_eq!(failed.contains(&self.id), self.state == ImportState::Active && !goes_on);
        if !goes_on {
            self.state = self.state.after(ImportEvent::Fail).unwrap_or(self.state);
        }
    }

    async fn task(&self) -> ImportTask {
        self.t.cloud.import_tasks(&self.t.admin, &[self.id]).await.unwrap().remove(0)
    }

    async fn images(&self) -> Vec<Image> {
        let mut images = self.t.cloud.images(&self.t.admin).await.unwrap();
        images.retain(|image| image.name == name(self.number));
        images
    }

    /// The image is there if, and only if, its import is completed; the task names it.
    async fn assert_state(&self) {
        let task = self.task().await;
        assert_eq!(task.state, self.state, "{}", task.message);
        let images: Vec<_> = self.images().await.iter().map(|image| image.id).collect();
        assert_eq!(images, task.image_id.into_iter().collect::<Vec<_>>());
        assert_eq!(task.image_id.is_some(), self.state == ImportState::Completed);
    }

    /// What is under way comes to its end.
    async fn rests(&mut self) {
        if self.state == ImportState::Active {
            self.ends(ImportEvent::Complete).await;
        }
        assert_eq!(self.t.cloud.interrupted_imports().await.unwrap(), []);
        assert!(self.t.cloud.doctor(&self.t.admin).await.unwrap().is_empty());
    }

    /// The image can be deleted, once, and its name and its import's are free.
    async fn is_deleted(&self) {
        for image in self.images().await {
            self.t.cloud.deregister_image(&self.t.admin, image.id).await.unwrap();
            let again = self.t.cloud.deregister_image(&self.t.admin, image.id).await;
            assert!(matches!(again, Err(Error::NotFound { .. })), "{again:?}");
        }
        assert_eq!(self.images().await, []);
        let anew = ImportRequest { token: None, ..request(self.number, 1) };
        let task = self.t.cloud.begin_import(&self.t.admin, anew).await.unwrap().task;
        self.t.cloud.fail_import(&self.t.admin, task.id, "was only to show").await.unwrap();
    }
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(answer: &Result<T, Error>) {
    assert!(matches!(answer, Err(Error::WrongState { .. })), "{answer:?}");
}
