//! A signed request of which one byte was changed on its way is refused, and nothing comes of it.

use tepui_ec2::Request;

use crate::client::Client;
use crate::harness::Harness;

const PAIRS: &str = "Action=CreateSecurityGroup&GroupDescription=d&GroupName=web&Version=2016-11-15";

async fn refused(client: &Client, request: &Request<'_>, what: &str) {
    let reply = client.handle(request).await;
    assert!((400..500).contains(&reply.status), "{what}: {}", reply.body);
}

/// Each text of which one byte is another; all are ASCII.
fn changed(text: &str) -> impl Iterator<Item = String> {
    (0..text.len()).map(move |at| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] ^= 1;
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

async fn nothing_was_done(harness: &Harness, client: &Client) {
    let groups = client.ok("DescribeSecurityGroups", &[]).await;
    assert_eq!(groups.items("securityGroupInfo").len(), 1, "only the default one");
    harness.cloud.flush_audit().await;
    let caller = harness.caller(&client.key_id).await;
    let records = harness.cloud.audit_records(&caller, &Default::default(), 10).await.unwrap();
    assert_eq!(records, [], "nobody is known to have asked");
}

#[tokio::test]
async fn a_changed_byte_of_headers_or_body_is_refused() {
    let harness = Harness::new().await;
    let client = harness.member("ann").await;
    let [time, authorization] = client.signed_headers("ec2", PAIRS);
    let send = async |time: &str, authorization: &str, host: &str, form: &str| {
        let request = Request {
            method: "POST",
            path: "/",
            headers: vec![
                ("host", host.as_bytes()),
                ("x-amz-date", time.as_bytes()),
                ("authorization", authorization.as_bytes()),
            ],
            body: form.as_bytes(),
            request_id: "req-test",
            ..Request::default()
        };
        refused(&client, &request, form).await;
    };
    for form in changed(PAIRS) {
        send(&time, &authorization, "ec2.test", &form).await;
    }
    for authorization in changed(&authorization) {
        send(&time, &authorization, "ec2.test", PAIRS).await;
    }
    for time in changed(&time) {
        send(&time, &authorization, "ec2.test", PAIRS).await;
    }
    for host in changed("ec2.test") {
        send(&time, &authorization, &host, PAIRS).await;
    }
    nothing_was_done(&harness, &client).await;
    assert_eq!(client.post("ec2", PAIRS).await.status, 200, "unchanged it is carried out");
}

fn get<'a>(query: &'a str, body: &'a [u8]) -> Request<'a> {
    let headers = vec![("host", b"ec2.test".as_slice())];
    Request { method: "GET", path: "/", query, headers, body, request_id: "req-test" }
}

#[tokio::test]
async fn a_changed_byte_of_a_signed_query_is_refused() {
    let harness = Harness::new().await;
    let client = harness.member("ann").await;
    let query = client.signed_query(PAIRS);
    for query in changed(&query) {
        refused(&client, &get(&query, b""), &query).await;
    }
    refused(&client, &get(&query, b"GroupName=other"), "a body that was not signed").await;
    nothing_was_done(&harness, &client).await;
    assert_eq!(client.handle(&get(&query, b"")).await.status, 200, "unchanged it is carried out");
}
