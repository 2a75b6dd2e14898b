//! Writes `docs/xrpc.md` from the routes, and checks that the page is of today and that no method is forgotten.
//!
//! A test only. The words stand at the routes and in `tests/parity/deviations.json`; here is only their order.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{
    plain_routes,
    route::{Kind, Route},
    routes,
};

/// The methods that the reference PDS serves (`@atproto/pds` 0.5).
const REFERENCE: [(&str, &[&str]); 8] = [
    (
        "com.atproto.server",
        &[
            "activateAccount",
            "checkAccountStatus",
            "confirmEmail",
            "createAccount",
            "createAppPassword",
            "createInviteCode",
            "createInviteCodes",
            "createSession",
            "deactivateAccount",
            "deleteAccount",
            "deleteSession",
            "describeServer",
            "getAccountInviteCodes",
            "getServiceAuth",
            "getSession",
            "listAppPasswords",
            "refreshSession",
            "requestAccountDelete",
            "requestEmailConfirmation",
            "requestEmailUpdate",
            "requestPasswordReset",
            "reserveSigningKey",
            "resetPassword",
            "revokeAppPassword",
            "updateEmail",
        ],
    ),
    (
        "com.atproto.repo",
        &[
            "applyWrites",
            "createRecord",
            "deleteRecord",
            "describeRepo",
            "getRecord",
            "importRepo",
            "listMissingBlobs",
            "listRecords",
            "putRecord",
            "uploadBlob",
        ],
    ),
    (
        "com.atproto.sync",
        &[
            "getBlob",
            "getBlocks",
            "getCheckout",
            "getHead",
            "getLatestCommit",
            "getRecord",
            "getRepo",
            "getRepoStatus",
            "listBlobs",
            "listRepos",
            "subscribeRepos",
        ],
    ),
    (
        "com.atproto.identity",
        &[
            "getRecommendedDidCredentials",
            "requestPlcOperationSignature",
            "resolveHandle",
            "signPlcOperation",
            "submitPlcOperation",
            "updateHandle",
        ],
    ),
    (
        "com.atproto.admin",
        &[
            "deleteAccount",
            "disableAccountInvites",
            "disableInviteCodes",
            "enableAccountInvites",
            "getAccountInfo",
            "getAccountInfos",
            "getInviteCodes",
            "getSubjectStatus",
            "sendEmail",
            "updateAccountEmail",
            "updateAccountHandle",
            "updateAccountPassword",
            "updateSubjectStatus",
        ],
    ),
    ("com.atproto.moderation", &["createReport"]),
    ("com.atproto.temp", &["checkSignupQueue"]),
    (
        "app.bsky",
        &[
            "actor.getPreferences",
            "actor.getProfile",
            "actor.getProfiles",
            "actor.putPreferences",
            "feed.getActorLikes",
            "feed.getAuthorFeed",
            "feed.getFeed",
            "feed.getPostThread",
            "feed.getTimeline",
            "notification.registerPush",
            "notification.unregisterPush",
        ],
    ),
];

/// How many they are: a slip in the list above must not go unseen.
const REFERENCE_COUNT: usize = 78;

/// Set to write the page instead of comparing it.
const REWRITE: &str = "PERCH_WRITE_DOCS";

/// Methods and namespaces that are passed on although their name says that a server might answer them, and why.
const PASSED_ON: &[(&str, &str)] = &[
    ("app.bsky.", "an AppView's; it sees the whole network, this server one box"),
    ("chat.bsky.", "the chat service's, named by `atproto-proxy`"),
    ("com.atproto.sync.", "a relay's; the reference does not serve it either"),
    ("com.atproto.label.", "a labeler's"),
    ("com.atproto.admin.", "not served by the reference"),
    ("com.atproto.identity.", "not served by the reference"),
    ("com.atproto.lexicon.", "not served by the reference"),
    ("com.atproto.temp.", "of the network's own sign-up service; not served by the reference"),
    ("com.atproto.server.", "not served by the reference"),
    ("com.atproto.repo.", "not served by the reference"),
    ("com.germnetwork.", "another service's"),
    ("tools.ozone.", "a moderation service's"),
];

/// An entry of the table of meant differences.
#[derive(Deserialize)]
struct Deviation {
    #[serde(default)]
    methods: Vec<String>,
    why: String,
}

fn reference() -> BTreeSet<String> {
    REFERENCE.iter().flat_map(|(space, names)| names.iter().map(move |n| format!("{space}.{n}"))).collect()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn deviations() -> Vec<Deviation> {
    let path = repository().join("tests/parity/deviations.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// All methods of the lexicons, with their kind; `None` when the lexicons are not beside the checkout.
fn lexicon_methods() -> Option<BTreeMap<String, Kind>> {
    let root = std::env::var_os("PERCH_SHARED")
        .map_or_else(|| repository().join("../shared"), PathBuf::from)
        .join("lexicons");
    let mut found = BTreeMap::new();
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).ok()? {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let lexicon: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            let kind = match lexicon["defs"]["main"]["type"].as_str() {
                Some("query") => Kind::Query,
                Some("procedure") => Kind::Procedure,
                Some("subscription") => Kind::Subscription,
                _ => continue,
            };
            found.insert(lexicon["id"].as_str().unwrap().to_owned(), kind);
        }
    }
    Some(found)
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Query => "query",
        Kind::Procedure => "procedure",
        Kind::Subscription => "subscription",
    }
}

fn page(routes: &[Route], lexicons: &BTreeMap<String, Kind>) -> String {
    let deviations = deviations();
    let mut page = String::from(
        "# XRPC methods\n\nWritten by a test from the routes (`PERCH_WRITE_DOCS=1 cargo test -p pds --lib the_page`); \
         change the words there. The column *differs* says where an answer differs from the reference PDS \
         (`@atproto/pds`) and why; `cargo xtask test --only parity` makes the same calls on both and finds nothing else.\n\n",
    );
    page.push_str("## Everywhere\n\n");
    for entry in deviations.iter().filter(|entry| entry.methods.is_empty()) {
        writeln!(page, "- {}", entry.why).unwrap();
    }
    writeln!(
        page,
        "\n## Served\n\n{} methods.\n\n| method | kind | who may call | differs |\n|---|---|---|---|",
        routes.len()
    )
    .unwrap();
    let mut sorted: Vec<&Route> = routes.iter().collect();
    sorted.sort_by_key(|route| route.nsid);
    for route in sorted {
        let found = deviations.iter().filter(|entry| entry.methods.iter().any(|m| m == route.nsid));
        let differs: Vec<&str> = std::iter::once(route.differs)
            .chain(found.map(|entry| entry.why.as_str()))
            .filter(|text| !text.is_empty())
            .collect();
        let who = if route.auth.is_empty() { "anyone" } else { route.auth };
        writeln!(page, "| `{}` | {} | {who} | {} |", route.nsid, word(route.kind), sentences(&differs))
            .unwrap();
    }
    page.push_str(
        "\n## Passed on\n\nWhat is not served is passed on, with a service token of the account: to the service that \
         `atproto-proxy` names, or else to the AppView of the settings. Without either it is answered 501.\n\n\
         | methods | why not here |\n|---|---|\n",
    );
    let mut passed: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for nsid in lexicons.keys().filter(|nsid| !routes.iter().any(|route| route.nsid == nsid.as_str())) {
        let rule = PASSED_ON.iter().find(|(prefix, _)| nsid.starts_with(prefix));
        let (prefix, _) = rule.unwrap_or_else(|| panic!("say in PASSED_ON why {nsid} is not served"));
        passed.entry(prefix).or_default().push(nsid);
    }
    for (prefix, why) in PASSED_ON {
        let Some(methods) = passed.get(prefix) else { continue };
        let names: Vec<String> =
            methods.iter().map(|nsid| format!("`{}`", nsid.strip_prefix(prefix).unwrap_or(nsid))).collect();
        writeln!(page, "| `{prefix}`: {} | {why} |", names.join(", ")).unwrap();
    }
    page.push_str("\n## Other addresses\n\n| address | what |\n|---|---|\n");
    for plain in plain_routes() {
        writeln!(page, "| `{}` | {} |", plain.address, plain.what).unwrap();
    }
    page
}

#[test]
fn each_method_of_the_reference_is_served() {
    let reference = reference();
    assert_eq!(reference.len(), REFERENCE_COUNT);
    let served: BTreeSet<String> = routes().iter().map(|route| route.nsid.to_owned()).collect();
    let missing: Vec<&String> = reference.difference(&served).collect();
    assert!(missing.is_empty(), "not served: {missing:?}");
}

#[test]
fn no_method_is_listed_twice_and_each_is_called_as_its_lexicon_says() {
    let routes = routes();
    let names: BTreeSet<&str> = routes.iter().map(|route| route.nsid).collect();
    assert_eq!(names.len(), routes.len(), "a method is listed twice");
    let Some(lexicons) = lexicon_methods() else {
        eprintln!("not checked: ../shared/lexicons is absent");
        return;
    };
    for route in &routes {
        assert_eq!(lexicons.get(route.nsid), Some(&route.kind), "{}", route.nsid);
    }
}

/// One text of several, each a sentence: a capital first, a full stop last.
fn sentences(parts: &[&str]) -> String {
    let whole = |part: &&str| {
        let mut letters = part.chars();
        let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
        let end = if part.ends_with(['.', '?', '!']) { "" } else { "." };
        format!("{first}{}{end}", letters.as_str())
    };
    parts.iter().map(whole).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_page_is_of_today() {
    let Some(lexicons) = lexicon_methods() else {
        eprintln!("not checked: ../shared/lexicons is absent");
        return;
    };
    let wanted = page(&routes(), &lexicons);
    let path = repository().join("docs/xrpc.md");
    if std::env::var_os(REWRITE).is_some() {
        fs::write(&path, &wanted).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "docs/xrpc.md is not of today: {REWRITE}=1 cargo test -p pds --lib the_page");
}
