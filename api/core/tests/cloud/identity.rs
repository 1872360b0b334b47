//! Projects, users, access keys, authentication, audit.

use tepui_core::{BearerError, Error, Kind};
use tepui_db::AuditFilter;
use tepui_db::model::{KeyKind, Role};

use super::harness::Harness;

#[tokio::test]
async fn bootstrap_gives_the_same_answer_when_it_is_repeated() {
    let t = Harness::new().await;
    let first = t.cloud.bootstrap().await.unwrap();
    let again = t.restarted().bootstrap().await.unwrap();
    assert!(first == again);
    assert_eq!(first.key.secret.len(), 40);
    assert_eq!(first.key.id.len(), 20);
    assert_eq!(t.cloud.users(&t.admin).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_token_works_until_its_key_is_deleted_and_wrong_ones_look_alike() {
    let t = Harness::new().await;
    let user = t.cloud.create_user(&t.admin, "ann", Role::Member).await.unwrap();
    let key = t.cloud.create_access_key(&t.admin, user.id, t.admin.project).await.unwrap();
    let token = format!("{}.{}", key.id, key.secret);
    let caller = t.cloud.authenticate_bearer(&token).await.unwrap().caller("r");
    assert_eq!((caller.user_id, caller.role, caller.project), (user.id, Role::Member, t.admin.project));
    for wrong in
        [format!("{}.{}", key.id, "x"), format!("TPAKX.{}", key.secret), key.id.clone(), String::new()]
    {
        assert!(matches!(t.cloud.authenticate_bearer(&wrong).await, Err(BearerError::Invalid)), "{wrong}");
    }
    assert!(matches!(t.cloud.delete_user(&t.admin, user.id).await, Err(Error::InUse { .. })));
    t.cloud.delete_access_key(&t.admin, t.admin.project, &key.id).await.unwrap();
    assert!(matches!(t.cloud.authenticate_bearer(&token).await, Err(BearerError::Invalid)));
    assert!(t.cloud.authenticate_key(&key.id).await.unwrap().is_none());
    t.cloud.delete_user(&t.admin, user.id).await.unwrap();
}

#[tokio::test]
async fn names_are_taken_once_and_the_holder_is_named() {
    let t = Harness::new().await;
    let first = t.cloud.create_project(&t.admin, "lab", None).await.unwrap();
    let error = t.cloud.create_project(&t.admin, "lab", None).await.unwrap_err();
    assert!(
        matches!(error, Error::AlreadyExists { kind: Kind::Project, id, .. } if id == first.id.to_string())
    );
    t.cloud.delete_project(&t.admin, first.id).await.unwrap();
    t.cloud.create_project(&t.admin, "lab", None).await.unwrap();
    let busy = t.cloud.delete_project(&t.admin, t.admin.project).await.unwrap_err();
    assert!(matches!(busy, Error::InUse { .. }), "it has the administrator's key");
}

#[tokio::test]
async fn every_mutating_call_is_one_record_with_its_outcome() {
    let t = Harness::new().await;
    t.cloud.flush_audit().await;
    let before = t.cloud.audit_records(&t.admin, &AuditFilter::default(), 100).await.unwrap().len();
    let create = async || t.cloud.create_key_pair(&t.admin, "k", KeyKind::Ed25519, &Default::default()).await;
    create().await.unwrap();
    t.cloud.flush_audit().await;
    create().await.map(|_| ()).unwrap_err();
    t.cloud.key_pairs(&t.admin).await.unwrap();
    t.cloud.flush_audit().await;
    let records = t.cloud.audit_records(&t.admin, &AuditFilter::default(), 100).await.unwrap();
    assert_eq!(records.len(), before + 2);
    let told: Vec<_> = records[..2].iter().map(|r| (r.action.as_str(), r.outcome.as_str())).collect();
    assert_eq!(told, [("CreateKeyPair", "already_exists"), ("CreateKeyPair", "ok")]);
    assert_eq!(records[0].request_id, "req-admin");
}
