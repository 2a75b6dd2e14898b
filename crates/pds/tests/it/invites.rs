//! Invite codes: who needs one, how often it works, and how an account earns some.

use std::time::Duration;

use serde_json::{Value, json};
use store::{ADMIN, NewInvite};

use crate::harness::{Account, Answer, Pds, error};

const DAY: Duration = Duration::from_secs(86_400);

async fn join(pds: &Pds, name: &str, code: Option<&str>) -> Answer {
    let mut body = json!({
        "handle": format!("{name}.test"), "email": format!("{name}@example.org"), "password": "hunter22",
    });
    if let Some(code) = code {
        body["inviteCode"] = json!(code);
    }
    pds.post(None, "com.atproto.server.createAccount", &body).await
}

async fn codes(pds: &Pds, account: &Account, params: &[(&str, &str)]) -> Vec<Value> {
    let method = "com.atproto.server.getAccountInviteCodes";
    let answer = pds.get_as(Some(&account.access), method, params).await.ok();
    answer["codes"].as_array().unwrap().clone()
}

#[tokio::test]
async fn without_a_code_that_works_nobody_gets_an_account() {
    let mut pds = Pds::start().await;
    pds.with_store(async |store| {
        let now = platform::sim::trusted_clock(crate::harness::NOW_US).0.now().unwrap();
        let invite = |code: &str, uses_max| NewInvite {
            code: code.to_owned(),
            account: ADMIN.to_owned(),
            created_by: ADMIN.to_owned(),
            uses_max,
        };
        store.add_invites(vec![invite("once", 1), invite("void", 5)], now).await.unwrap();
        store.disable_invites(vec!["void".to_owned()], Vec::new()).await.unwrap();
    })
    .await;
    // Where none is required, one that is given must still be good.
    assert_eq!(join(&pds, "alice", Some("nonsense")).await.error(), error(400, "InvalidInviteCode"));
    pds.restart_with(|config| config.invite_required = true).await;
    let described = pds.get("com.atproto.server.describeServer", &[]).await.ok();
    assert_eq!(described["inviteCodeRequired"], true);
    for code in [None, Some(""), Some("nonsense"), Some("void")] {
        assert_eq!(join(&pds, "alice", code).await.error(), error(400, "InvalidInviteCode"), "{code:?}");
    }
    assert_eq!(pds.directory.count(), 0, "nothing was registered for those");
    join(&pds, "alice", Some("once")).await.ok();
    assert_eq!(join(&pds, "bobby", Some("once")).await.error(), error(400, "InvalidInviteCode"));
}

#[tokio::test]
async fn a_sign_up_that_the_directory_refuses_gives_its_code_back() {
    let mut pds = Pds::start().await;
    pds.with_store(async |store| {
        let now = platform::sim::trusted_clock(crate::harness::NOW_US).0.now().unwrap();
        let invite = NewInvite {
            code: "once".to_owned(),
            account: ADMIN.to_owned(),
            created_by: ADMIN.to_owned(),
            uses_max: 1,
        };
        store.add_invites(vec![invite], now).await.unwrap();
    })
    .await;
    pds.directory.set_down(true);
    assert_eq!(join(&pds, "alice", Some("once")).await.error(), error(502, "UpstreamFailure"));
    // It may still become an account: nobody else gets the code meanwhile.
    assert_eq!(join(&pds, "bobby", Some("once")).await.error(), error(400, "InvalidInviteCode"));
    pds.directory.set_down(false);
    pds.restart().await;
    pds.wait_status(|s| s.accounts == 1).await;
    assert_eq!(join(&pds, "bobby", Some("once")).await.error(), error(400, "InvalidInviteCode"));
}

#[tokio::test]
async fn an_account_earns_a_code_a_day_and_sees_who_used_it() {
    let mut pds = Pds::start().await;
    let alice = pds.account("alice").await;
    assert_eq!(
        codes(&pds, &alice, &[]).await,
        Vec::<Value>::new(),
        "nothing is earned where none is required"
    );
    let settings = |config: &mut pds::Config| {
        config.invite_required = true;
        config.invite_interval = Some(DAY);
    };
    pds.restart_with(settings).await;
    pds.sim.advance(2 * DAY);
    let body = json!({ "identifier": "alice.test", "password": "hunter22" });
    let session = pds.post(None, "com.atproto.server.createSession", &body).await.ok();
    let alice = Account { access: session["accessJwt"].as_str().unwrap().to_owned(), ..alice };

    assert!(codes(&pds, &alice, &[("createAvailable", "false")]).await.is_empty());
    let earned = codes(&pds, &alice, &[]).await;
    assert_eq!(earned.len(), 2);
    assert_eq!(codes(&pds, &alice, &[]).await.len(), 2, "once");
    let code = earned[0]["code"].as_str().unwrap();
    assert!(code.starts_with("localhost-"), "{code}");
    assert_eq!((&earned[0]["available"], &earned[0]["forAccount"]), (&json!(1), &json!(alice.did)));
    let bob = join(&pds, "bobby", Some(code)).await.ok();
    let all = codes(&pds, &alice, &[]).await;
    let used = all.iter().find(|c| c["code"] == code).unwrap();
    assert_eq!(used["uses"][0]["usedBy"], bob["did"]);
    assert_eq!(codes(&pds, &alice, &[("includeUsed", "false")]).await.len(), 1);
    pds.sim.advance(Duration::from_secs(60));
    let method = "com.atproto.server.getAccountInviteCodes";
    assert_eq!(pds.get(method, &[]).await.error(), error(401, "AuthMissing"));
}
