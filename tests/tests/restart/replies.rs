//! The reply is lost after the call was carried out, and the client repeats it.

use std::time::Duration;

use tepui_tests::{Ec2Session, LossyWay, Reply};

use crate::scene::Scene;
use crate::verb::Verb;

#[test]
fn a_call_whose_reply_is_lost_is_done_once_when_it_is_repeated() {
    let mut scene = Scene::new();
    let way = LossyWay::to(scene.cloud.address());
    let mut variables = scene.cloud.variables().clone();
    variables.insert("AWS_ENDPOINT_URL".into(), way.url().into());
    let mut unlucky = Ec2Session::start_as(&variables, Duration::from_secs(30));
    for verb in Verb::ALL {
        let case = scene.prepare(verb);
        let lost = unlucky.call(verb.call(), &scene.parameters(&case));
        assert!(matches!(lost, Reply::Lost(_)), "{verb:?}: {lost:?}");
        scene.act(&case).answer();
        scene.assert_done(case, "its reply");
    }
    scene.cloud.down();
}
