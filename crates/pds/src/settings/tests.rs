//! Mistakes and their words, defaults, variables over the file, and that no secret is ever shown.

use std::collections::BTreeSet;

use super::*;

fn vars(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn from_file(text: &str) -> Result<Settings, Vec<String>> {
    read(Some(("pds.toml", text)), []).map_err(words)
}

fn words(problems: Vec<Problem>) -> Vec<String> {
    problems.into_iter().map(|problem| problem.to_string()).collect()
}

/// The one problem of a file that begins with a right host name.
#[track_caller]
fn problem(line: &str) -> String {
    let problems = from_file(&format!("hostname = \"pds.example.com\"\n{line}\n")).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems[0].clone()
}

#[test]
fn a_host_name_is_enough_and_the_rest_is_for_a_real_server() {
    let settings = from_file("hostname = \"PDS.example.com\"").unwrap();
    let config = &settings.config;
    assert_eq!(
        (config.hostname.as_str(), config.public_url.as_str()),
        ("pds.example.com", "https://pds.example.com")
    );
    assert_eq!(
        (config.plc_url.as_str(), config.plc_identity.as_str()),
        ("https://plc.directory", "https://plc.directory")
    );
    assert_eq!(config.handle_domains, [".pds.example.com"]);
    let appview = config.appview.clone().unwrap();
    assert_eq!(
        (appview.url.as_str(), appview.did.as_str()),
        ("https://api.bsky.app", "did:web:api.bsky.app")
    );
    assert_eq!(config.report_service.clone().unwrap().url, "https://mod.bsky.app");
    assert_eq!(config.crawlers, ["https://bsky.network"]);
    assert!(
        config.invite_required && !config.dev_mode && config.rate_limits.enabled && !config.age_assurance
    );
    assert!(
        config
            .trusted_proxies
            .iter()
            .any(|network| network.contains(&"127.0.0.1".parse::<std::net::IpAddr>().unwrap()))
    );
    assert!(
        !config
            .trusted_proxies
            .iter()
            .any(|network| network.contains(&"192.168.0.1".parse::<std::net::IpAddr>().unwrap()))
    );
    assert_eq!((config.blob_bytes_max, config.import_bytes_max), (104_857_600, 1_073_741_824));
    assert_eq!(settings.listen, "[::]:2583".parse().unwrap());
    assert_eq!(settings.time, TimeSource::Kernel, "nothing but proof makes a clock trusted");
}

#[test]
fn dev_mode_reaches_no_real_server_by_itself() {
    let settings = from_file("dev_mode = true\nplc_url = \"http://localhost:2582\"").unwrap();
    let config = &settings.config;
    assert_eq!(
        (config.hostname.as_str(), config.public_url.as_str()),
        ("localhost", "http://localhost:2583")
    );
    assert_eq!(config.handle_domains, [".test"]);
    assert!(config.appview.is_none() && config.report_service.is_none() && config.crawlers.is_empty());
    assert_eq!(settings.time, TimeSource::Unproven);
    let problems = from_file("dev_mode = true").unwrap_err();
    assert!(problems[0].starts_with("plc_url is missing"), "{problems:?}");
}

#[test]
fn variables_lie_over_the_file() {
    let file = "hostname = \"a.example.com\"\nport = 3000\ncrawlers = [\"https://one.example.com\"]\nsmtp_url = \"smtps://x:y@z.example\"\nemail_from = \"a@b.example\"";
    let variables = vars(&[
        ("PERCH_PDS_PORT", "4000"),
        ("PERCH_PDS_CRAWLERS", "https://two.example.com, https://three.example.com/"),
        ("PERCH_PDS_HANDLE_DOMAINS", ".one.example.com,two.example.com"),
        ("PERCH_PDS_INVITE_REQUIRED", "false"),
        ("PERCH_PDS_APPVIEW_URL", "none"),
        ("PERCH_PDS_BLOB_UPLOAD_LIMIT", "5 MB"),
        ("PATH", "/bin"),
    ]);
    let settings = read(Some(("pds.toml", file)), variables).unwrap();
    let config = &settings.config;
    assert_eq!(settings.listen.port(), 4000);
    assert_eq!(config.crawlers, ["https://two.example.com", "https://three.example.com"]);
    assert_eq!(config.handle_domains, [".one.example.com", ".two.example.com"]);
    assert!(!config.invite_required && config.appview.is_none());
    assert_eq!(config.blob_bytes_max, 5_000_000);
    assert_eq!(config.mail.as_ref().unwrap().smtp_url.expose(), "smtps://x:y@z.example");
}

#[test]
fn an_unknown_name_gets_the_nearest_right_one() {
    assert_eq!(
        problem("handle_domain = []"),
        "pds.toml:2: handle_domain is no setting; did you mean handle_domains?"
    );
    for (wrong, right) in [
        ("hostnam", "hostname"),
        ("upload_blob_limit", "blob_upload_limit"),
        ("smtp", "smtp_url"),
        ("Port", "port"),
    ] {
        let said = problem(&format!("{wrong} = 1"));
        assert!(said.ends_with(&format!("did you mean {right}?")), "{said}");
    }
    assert!(problem("zzz = 1").ends_with("docs/settings.md lists them"));
    let problems = words(
        read(None, vars(&[("PERCH_PDS_HOSTNAME", "a.example.com"), ("PERCH_PDS_SMPT_URL", "x")]))
            .unwrap_err(),
    );
    assert_eq!(problems, ["PERCH_PDS_SMPT_URL is no setting; did you mean PERCH_PDS_SMTP_URL?"]);
}

#[test]
fn every_wrong_value_is_named_with_its_line_and_an_example() {
    for (line, hint) in [
        ("port = 99999", "99999 is no port"),
        ("port = \"http\"", "no whole number"),
        ("port = [1]", "must be a whole number"),
        ("public_url = \"pds.example.com\"", "is no URL"),
        ("public_url = \"https://other.example.com\"", "hostname is pds.example.com"),
        ("public_url = \"http://pds.example.com\"", "not encrypted"),
        ("data_dir = \"data\"", "does not start with /"),
        ("plc_url = \"https://plc.directory/path\"", "has a path"),
        ("plc_url = \"ftp://plc.directory\"", "ftp"),
        ("handle_domains = []", "names no domain"),
        ("handle_domains = [\".test\"]", "only dev_mode"),
        ("handle_domains = [\"a b\"]", "is no domain"),
        ("handle_domains = [1]", "list of texts"),
        ("admin_password = \"short\"", "has 5 characters"),
        ("invite_required = \"perhaps\"", "neither true nor false"),
        ("plc_rotation_key_hex = \"abcdef\"", "64 digits are needed"),
        ("recovery_did_key = \"did:key:zzz\"", "no public key"),
        ("appview_did = \"did:web:api.bsky.app#bsky_appview\"", "give the DID alone"),
        ("appview_did = \"api.bsky.app\"", "is no DID"),
        ("smtp_url = \"smtp.example.com\"", "must begin with smtps://"),
        ("smtp_url = \"smtps://ada@smtp.example.com\"", "user name without a password"),
        ("smtp_url = \"smtps://ada:p@smtp.example.com:port\"", "no number of a port"),
        ("email_from = \"me\"", "is no mail address"),
        ("email_from = \"a@b.example\"", "smtp_url is missing"),
        ("smtp_url = \"smtps://smtp.example.com\"", "email_from is missing"),
        ("report_service_url = \"https://mod.example.com\"", "report_service_did is missing"),
        ("invite_interval = \"7\"", "does not end in days or hours"),
        ("invite_interval = \"0 days\"", "whole number above 0"),
        ("invite_epoch = \"yesterday\"", "is no moment"),
        ("moderation_service_url = \"https://ozone.example.com\"", "moderation_service_did is missing"),
        ("rate_limits = 5", "must be true or false"),
        ("blob_upload_limit = \"5 XB\"", "no unit"),
        ("blob_upload_limit = \"many\"", "is no size"),
        ("blob_upload_limit = 5", "too few"),
        ("import_limit = \"999999999999 GiB\"", "larger than any disk"),
        ("import_limit = -1", "less than nothing"),
        ("import_limit = 1.5", "must be a size"),
        ("trusted_proxies = [\"proxy\"]", "none of the words"),
        ("trusted_proxies = [\"0.0.0.0/0\"]", "is everybody"),
        ("metrics_address = \"0.0.0.0:1\"", "can be reached from the internet"),
        ("metrics_address = \"9090\"", "no IP address with a port"),
        ("listen_address = \"localhost\"", "no IP address"),
        ("log_format = \"xml\"", "none of plain, json"),
        ("log_level = \"loud\"", "none of error"),
        ("crawlers = [\"bsky.network\"]", "is no URL"),
        ("dev_mode = 1", "must be true or false"),
        ("appview_url = \"\"", "is empty"),
        ("appview_url = \"https://user:secret@example.com\"", "user name or password"),
    ] {
        let said = problem(line);
        assert!(said.contains(hint), "{line}: {said}");
        assert!(said.contains("Example: "), "{line}: {said}");
        let missing_half = said.contains("is missing");
        assert!(missing_half || said.starts_with("pds.toml:2: "), "{line}: {said}");
    }
    for (host, hint) in [
        ("https://pds.example.com", "give the name only"),
        ("pds.example.com:443", "has a port"),
        ("pds", "needs a dot"),
        ("127.0.0.1", "needs a dot"),
        ("localhost", "only dev_mode"),
        ("pds.local", "only dev_mode"),
    ] {
        let problems = from_file(&format!("hostname = \"{host}\"")).unwrap_err();
        assert!(problems[0].starts_with("pds.toml:1: ") && problems[0].contains(hint), "{problems:?}");
    }
    assert!(from_file("").unwrap_err()[0].starts_with("hostname is missing"));
}

#[test]
fn all_problems_come_at_once_and_each_names_its_place() {
    let file = "# mine\nhostnam = \"a.example.com\"\nport = 0\n\nlog_level = \"loud\"\n";
    let problems =
        words(read(Some(("x.toml", file)), vars(&[("PERCH_PDS_IMPORT_LIMIT", "5 XB")])).unwrap_err());
    let begins = [
        "x.toml:2: ",
        "x.toml:3: port",
        "PERCH_PDS_IMPORT_LIMIT: ",
        "x.toml:5: log_level",
        "hostname is missing",
    ];
    assert_eq!(problems.len(), begins.len(), "{problems:?}");
    for begin in begins {
        assert!(problems.iter().any(|problem| problem.starts_with(begin)), "{begin}: {problems:?}");
    }
    let example = problems.iter().find(|problem| problem.starts_with("PERCH_PDS_IMPORT_LIMIT")).unwrap();
    assert!(example.ends_with("Example: PERCH_PDS_IMPORT_LIMIT=1 GiB"), "{example}");
}

#[test]
fn a_file_that_is_not_toml_is_named_by_its_line_and_not_quoted() {
    let problems =
        from_file("hostname = \"a.example.com\"\nadmin_password = hunter22hunter22\n").unwrap_err();
    assert!(problems[0].starts_with("pds.toml:2: is not TOML"), "{problems:?}");
    assert!(!problems.concat().contains("hunter22"), "{problems:?}");
}

#[test]
fn no_secret_is_ever_shown() {
    let secret = "hunter22@/# hunter22";
    for setting in table::all().filter(|setting| setting.secret) {
        for text in [secret, "hunter22", "smtps://u:hunter22@a.example:port"] {
            let variables = vec![
                ("PERCH_PDS_HOSTNAME".to_owned(), "pds.example.com".to_owned()),
                (setting.variable(), text.to_owned()),
            ];
            let said = match read(None, variables) {
                Ok(settings) => format!("{} {settings:?}", settings.in_force()),
                Err(problems) => words(problems).concat(),
            };
            assert!(!said.contains("hunter22"), "{}: {said}", setting.name);
        }
    }
    let key = "11".repeat(32);
    let file = format!(
        "hostname = \"a.example.com\"\nplc_rotation_key_hex = \"{key}\"\nsmtp_url = \"smtps://u:hunter22@a.example\"\nemail_from = \"a@b.example\""
    );
    let settings = from_file(&file).unwrap();
    let shown = format!("{} {settings:?}", settings.in_force());
    assert!(!shown.contains("hunter22") && !shown.contains(&key), "{shown}");
    assert!(shown.contains("smtp_url = \"(set, not shown)\""), "{shown}");
}

#[test]
fn what_is_in_force_says_where_it_comes_from() {
    let settings = read(
        Some(("pds.toml", "hostname = \"a.example.com\"\ntrusted_proxies = [\"linklocal\"]\n")),
        vars(&[("PERCH_PDS_PORT", "4000")]),
    )
    .unwrap();
    let shown = settings.in_force();
    let line =
        |name: &str| shown.lines().find(|line| line.starts_with(&format!("{name} = "))).unwrap().to_owned();
    assert!(
        line("hostname").starts_with("hostname = \"a.example.com\"")
            && line("hostname").ends_with("# pds.toml:1")
    );
    assert!(line("port").starts_with("port = 4000") && line("port").ends_with("# PERCH_PDS_PORT"));
    assert!(
        line("admin_password").starts_with("admin_password = \"none\"")
            && line("admin_password").ends_with("# default")
    );
    assert!(line("trusted_proxies").contains("169.254.0.0/16"));
    assert_eq!(shown.lines().count(), table::all().count());
    for line in shown.lines() {
        assert!(!line.contains(" =  "), "a setting without a value: {line}");
    }
}

#[test]
fn every_example_and_default_of_the_table_is_right() {
    let names: BTreeSet<&str> = table::all().map(|setting| setting.name).collect();
    assert_eq!(names.len(), table::all().count(), "each name once");
    let base = "hostname = \"pds.example.com\"\nsmtp_url = \"smtps://a:b@c.example\"\nemail_from = \"a@b.example\"\n";
    for setting in table::all() {
        let example = match setting.name {
            // Its example says how long it is and shows no key.
            "plc_rotation_key_hex" => format!("\"{}\"", "1f".repeat(32)),
            _ => setting.example.to_owned(),
        };
        let others: String = base
            .lines()
            .filter(|line| !line.starts_with(&format!("{} ", setting.name)))
            .map(|line| format!("{line}\n"))
            .collect();
        // What makes sense only with its other half gets it.
        let others = match setting.name {
            "moderation_service_url" => others + "moderation_service_did = \"did:web:a.example\"\n",
            "moderation_service_did" => others + "moderation_service_url = \"https://a.example\"\n",
            _ => others,
        };
        let dev = if setting.name == "dev_mode" { "plc_url = \"http://localhost:1\"\n" } else { "" };
        let read = from_file(&format!("{others}{dev}{} = {example}\n", setting.name));
        assert!(read.is_ok(), "{}: {:?}", setting.name, read.unwrap_err());
    }
    for name in [
        "hostname",
        "port",
        "public_url",
        "data_dir",
        "plc_url",
        "handle_domains",
        "admin_password",
        "invite_required",
        "plc_rotation_key_hex",
        "recovery_did_key",
        "appview_url",
        "appview_did",
        "report_service_url",
        "report_service_did",
        "smtp_url",
        "email_from",
        "rate_limits",
        "blob_upload_limit",
        "import_limit",
        "crawlers",
        "trusted_proxies",
        "dev_mode",
        "age_assurance",
    ] {
        assert!(names.contains(name), "{name}");
    }
}

#[test]
fn the_simulator_takes_the_variables_over_its_own_settings() {
    let local = || Config::local("/tmp/x".into(), 2583, "http://localhost:2582".to_owned());
    let config = overlay(
        local(),
        vars(&[
            ("PERCH_PDS_ADMIN_PASSWORD", "admin"),
            ("PERCH_PDS_APPVIEW_URL", "http://localhost:9"),
            ("PERCH_PDS_APPVIEW_DID", "did:web:appview.test"),
            ("PERCH_PDS_HANDLE_DOMAINS", "test,example.test"),
            ("PERCH_PDS_CRAWLERS", "http://localhost:8"),
        ]),
    )
    .unwrap();
    assert_eq!(config.appview.unwrap().did, "did:web:appview.test");
    assert_eq!(config.admin_password.unwrap().expose(), "admin");
    assert_eq!((config.handle_domains.len(), config.public_url.as_str()), (2, "http://localhost:2583"));
    assert_eq!(config.crawlers, ["http://localhost:8"]);
    let problems = words(overlay(local(), vars(&[("PERCH_PDS_ADMIN", "x")])).unwrap_err());
    assert!(problems[0].contains("PERCH_PDS_ADMIN_PASSWORD"), "{problems:?}");
}

#[test]
fn docs_settings_md_is_what_the_table_says() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/settings.md");
    if std::env::var_os("PERCH_WRITE_DOCS").is_some() {
        std::fs::write(&path, document()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(
        written == document(),
        "docs/settings.md is not what the table says; PERCH_WRITE_DOCS=1 cargo test -p pds --lib settings writes it anew"
    );
}
