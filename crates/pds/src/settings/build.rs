//! Makes the settings of what was given: defaults, values, and what must hold between them.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::{
    config::{Config, Mail, Secret, Service},
    limits::RateLimits,
};

use super::{
    Log, Problem, Settings, TimeSource,
    given::{AllGiven, Given},
    show,
    table::{self, Default, Setting},
    value::{Form, Value},
};

/// The moderation service of the AppView that is the default.
const REPORT_SERVICE: (&str, &str) = ("https://mod.bsky.app", "did:plc:ar7c4by46qjdydhdevvrndac");

/// The port of the sample configuration that everything is laid over; it is always replaced.
const NO_PORT: u16 = 0;

/// Settings while they come together. What only makes sense in pairs waits here for its other half.
pub(super) struct Draft {
    pub(super) config: Config,
    pub(super) port: u16,
    address: IpAddr,
    time_verdict_file: Option<std::path::PathBuf>,
    log: Log,
    public_url: Option<String>,
    handle_domains: Option<Vec<String>>,
    pub(super) appview_url: Option<String>,
    pub(super) appview_did: Option<String>,
    pub(super) report_service_url: Option<String>,
    pub(super) report_service_did: Option<String>,
    moderation_service_url: Option<String>,
    moderation_service_did: Option<String>,
    smtp_url: Option<Secret>,
    email_from: Option<String>,
}

impl Draft {
    fn over(config: Config) -> Self {
        let parts = |service: &Option<Service>| service.clone().map(|s| (s.url, s.did)).unzip();
        let (appview_url, appview_did) = parts(&config.appview);
        let (report_service_url, report_service_did) = parts(&config.report_service);
        let (moderation_service_url, moderation_service_did) = parts(&config.moderation_service);
        let (smtp_url, email_from) = config.mail.clone().map(|mail| (mail.smtp_url, mail.from)).unzip();
        Self {
            port: NO_PORT,
            address: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            time_verdict_file: None,
            log: Log { json: false, level: tracing::Level::INFO },
            public_url: None,
            handle_domains: None,
            appview_url,
            appview_did,
            report_service_url,
            report_service_did,
            moderation_service_url,
            moderation_service_did,
            smtp_url,
            email_from,
            config,
        }
    }

    /// Takes one value.
    fn set(&mut self, setting: &Setting, value: &Value) -> Result<(), String> {
        let config = &mut self.config;
        match setting.name {
            "hostname" => config.hostname = value.host()?,
            "port" => self.port = value.port()?,
            "listen_address" => self.address = value.address()?,
            "public_url" => self.public_url = Some(value.url()?),
            "data_dir" => config.data_dir = value.path()?,
            "dev_mode" => config.dev_mode = value.switch()?,
            "handle_domains" => self.handle_domains = Some(value.domains()?),
            "admin_password" => {
                config.admin_password = Some(value.secret(chars_min(setting, config.dev_mode))?);
            }
            "invite_required" => config.invite_required = value.switch()?,
            "invite_interval" => config.invite_interval = value.span()?,
            "invite_epoch" => config.invite_epoch_us = value.moment_us()?,
            "plc_rotation_key_hex" => config.plc_rotation_key = Some(value.private_key()?),
            "recovery_did_key" => config.recovery_key = Some(value.public_key()?),
            "age_assurance" => config.age_assurance = value.switch()?,
            "plc_url" => config.plc_url = value.url()?,
            "appview_url" => self.appview_url = value.optional_url()?,
            "appview_did" => self.appview_did = Some(value.did()?),
            "report_service_url" => self.report_service_url = value.optional_url()?,
            "report_service_did" => self.report_service_did = Some(value.did()?),
            "moderation_service_url" => self.moderation_service_url = value.optional_url()?,
            "moderation_service_did" => self.moderation_service_did = Some(value.did()?),
            "crawlers" => config.crawlers = value.urls()?,
            "trusted_proxies" => config.trusted_proxies = value.networks()?,
            "smtp_url" => self.smtp_url = Some(value.smtp()?),
            "email_from" => self.email_from = Some(value.mailbox()?),
            "rate_limits" => {
                config.rate_limits = RateLimits { enabled: value.switch()?, ..config.rate_limits };
            }
            "rate_limit_bypass_key" => {
                config.rate_limit_bypass_key = Some(value.secret(chars_min(setting, config.dev_mode))?);
            }
            "blob_upload_limit" => config.blob_bytes_max = bytes(setting, value)?,
            "import_limit" => config.import_bytes_max = bytes(setting, value)?,
            "metrics_address" => config.metrics_address = value.metrics_address()?,
            "time_verdict_file" => self.time_verdict_file = Some(value.path()?),
            "log_format" => self.log.json = value.word(&["plain", "json"])? == "json",
            "log_level" => {
                let word = value.word(&["error", "warn", "info", "debug", "trace"])?;
                self.log.level = word.parse().map_err(|_| format!("{word} is no level"))?;
            }
            other => return Err(format!("{other} has no meaning here")),
        }
        Ok(())
    }
}

fn chars_min(setting: &Setting, dev_mode: bool) -> usize {
    match setting.form {
        Form::Secret { chars_min } if !dev_mode => chars_min,
        _ => 1,
    }
}

fn bytes(setting: &Setting, value: &Value) -> Result<u64, String> {
    match setting.form {
        Form::Bytes { min, max } => value.bytes(min, max),
        _ => value.bytes(0, u64::MAX),
    }
}

/// What is wrong with a value, with a right one beside it.
fn wrong(setting: &Setting, given: &Given, why: &str) -> Problem {
    let example = match &given.origin {
        super::given::Origin::Line { .. } => format!("{} = {}", setting.name, setting.example),
        super::given::Origin::Variable(name) => format!("{name}={}", show::as_variable(setting.example)),
    };
    Problem::at(&given.origin, format!("{} {why}. Example: {example}", setting.name))
}

/// Makes all settings of a server that runs alone.
pub(super) fn settings(given: &AllGiven, mut problems: Vec<Problem>) -> Result<Settings, Vec<Problem>> {
    let dev_mode = given.get("dev_mode").is_some_and(|given| given.value.switch().unwrap_or(false));
    let mut draft = Draft::over(blank());
    draft.config.dev_mode = dev_mode;
    let mut absent = Vec::new();
    for setting in table::all() {
        if let Some(given) = given.get(setting.name) {
            if let Err(why) = draft.set(setting, &given.value) {
                problems.push(wrong(setting, given, &why));
            }
            continue;
        }
        match setting.default_in(dev_mode) {
            Default::Is(text) => {
                let value = show::value_of_toml(text);
                if let Err(why) = draft.set(setting, &value) {
                    problems.push(Problem(format!("the default of {} {why}", setting.name)));
                }
            }
            Default::Required => absent.push(setting),
            Default::Off | Default::Follows(_) => {}
        }
    }
    for setting in absent {
        problems.push(Problem(format!(
            "{} is missing. Example: {} = {}, or the variable {}",
            setting.name,
            setting.name,
            setting.example,
            setting.variable()
        )));
    }
    follow(&mut draft, dev_mode);
    check(&draft, given, &mut problems);
    pair_up(&mut draft, given, &mut problems);
    if !problems.is_empty() {
        return Err(problems);
    }
    let time = match &draft.time_verdict_file {
        Some(file) => TimeSource::Guard(file.clone()),
        None if dev_mode => TimeSource::Unproven,
        None => TimeSource::Kernel,
    };
    let listen = SocketAddr::new(draft.address, draft.port);
    let mut settings = Settings {
        listen,
        listen_chosen: given.contains_key("listen_address"),
        time,
        log: draft.log,
        notes: Vec::new(),
        in_force: Vec::new(),
        config: draft.config,
    };
    settings.notes = notes(&settings);
    settings.in_force = show::in_force(&settings, given);
    Ok(settings)
}

/// Lays what was given over a configuration.
pub(super) fn over(
    config: Config,
    given: &AllGiven,
    mut problems: Vec<Problem>,
) -> Result<Config, Vec<Problem>> {
    let mut draft = Draft::over(config);
    for setting in table::all() {
        let Some(given) = given.get(setting.name) else { continue };
        if let Err(why) = draft.set(setting, &given.value) {
            problems.push(wrong(setting, given, &why));
        }
    }
    if let Some(url) = draft.public_url.take() {
        draft.config.public_url = url;
    }
    if let Some(domains) = draft.handle_domains.take() {
        draft.config.handle_domains = domains;
    }
    pair_up(&mut draft, given, &mut problems);
    if problems.is_empty() { Ok(draft.config) } else { Err(problems) }
}

/// What everything is laid over. No value of it is left at the end.
fn blank() -> Config {
    let mut config = Config::local(std::path::PathBuf::new(), NO_PORT, String::new());
    config.hostname = String::new();
    config
}

/// Fills in what follows from other settings.
fn follow(draft: &mut Draft, dev_mode: bool) {
    let hostname = draft.config.hostname.clone();
    let port = draft.port;
    draft.config.plc_identity.clone_from(&draft.config.plc_url);
    draft.config.public_url = draft.public_url.take().unwrap_or_else(|| {
        if dev_mode { format!("http://{hostname}:{port}") } else { format!("https://{hostname}") }
    });
    draft.config.handle_domains = draft.handle_domains.take().unwrap_or_else(|| {
        vec![if hostname == "localhost" { ".test".to_owned() } else { format!(".{hostname}") }]
    });
}

/// Checks what must hold between settings, and what only dev mode allows.
fn check(draft: &Draft, given: &AllGiven, problems: &mut Vec<Problem>) {
    let config = &draft.config;
    let mut refuse = |name: &str, why: String| {
        let setting = table::all().find(|setting| setting.name == name);
        match (setting, given.get(name)) {
            (Some(setting), Some(given)) => problems.push(wrong(setting, given, &why)),
            _ => problems.push(Problem(format!("{name} {why}"))),
        }
    };
    if config.hostname.is_empty() {
        // What is said about it already is enough.
        return;
    }
    let url = reqwest::Url::parse(&config.public_url).ok();
    let host = url.as_ref().and_then(|url| url.host_str()).unwrap_or_default();
    if host != config.hostname {
        refuse("public_url", format!("is at {host}, but hostname is {}", config.hostname));
    }
    if config.dev_mode {
        return;
    }
    if config.hostname == "localhost" || only_for_tests(&config.hostname) {
        refuse(
            "hostname",
            format!("is {}, a name that nobody else can reach; only dev_mode allows it", config.hostname),
        );
    }
    for domain in &config.handle_domains {
        if only_for_tests(domain) || !domain.trim_start_matches('.').contains('.') {
            refuse(
                "handle_domains",
                format!("has {domain}, where no handle can be verified; only dev_mode allows it"),
            );
        }
    }
    let crawlers = config.crawlers.iter().map(|url| ("crawlers", url.as_str()));
    let urls = [
        ("public_url", Some(config.public_url.as_str())),
        ("plc_url", Some(config.plc_url.as_str())),
        ("appview_url", draft.appview_url.as_deref()),
        ("report_service_url", draft.report_service_url.as_deref()),
        ("moderation_service_url", draft.moderation_service_url.as_deref()),
    ];
    let urls = urls.into_iter().filter_map(|(name, url)| url.map(|url| (name, url)));
    for (name, url) in urls.chain(crawlers) {
        if url.starts_with("http://") {
            refuse(
                name,
                format!(
                    "has {url}, which is not encrypted; begin with https:// (plain http only with dev_mode)"
                ),
            );
        }
    }
}

/// Whether a name lies under a domain that is reserved for tests and private networks (RFC 2606, 6761, 6762).
fn only_for_tests(name: &str) -> bool {
    const DOMAINS: [&str; 8] =
        [".test", ".localhost", ".invalid", ".local", ".internal", ".lan", ".home.arpa", ".onion"];
    DOMAINS.iter().any(|domain| name.ends_with(domain))
}

/// Joins the halves of what only makes sense in pairs.
fn pair_up(draft: &mut Draft, given: &AllGiven, problems: &mut Vec<Problem>) {
    if given.contains_key("appview_url") && !given.contains_key("appview_did") {
        draft.appview_did = None;
    }
    let appview_did = draft.appview_did.take().or_else(|| {
        let host = reqwest::Url::parse(draft.appview_url.as_deref()?).ok()?.host_str()?.to_owned();
        Some(format!("did:web:{host}"))
    });
    draft.config.appview = match (draft.appview_url.take(), appview_did) {
        (Some(url), Some(did)) => Some(Service { url, did }),
        _ => None,
    };
    if given.contains_key("report_service_url") && !given.contains_key("report_service_did") {
        draft.report_service_did = None;
    }
    let report_did = draft.report_service_did.take().or_else(|| {
        let is_default = draft.report_service_url.as_deref() == Some(REPORT_SERVICE.0);
        is_default.then(|| REPORT_SERVICE.1.to_owned())
    });
    draft.config.report_service = match (draft.report_service_url.take(), report_did) {
        (Some(url), Some(did)) => Some(Service { url, did }),
        (Some(_), None) if !problems.iter().any(|p| p.0.contains("report_service_did")) => {
            problems.push(Problem(
                "report_service_did is missing: report_service_url is not the default one, and its DID cannot be guessed. Example: report_service_did = \"did:plc:ar7c4by46qjdydhdevvrndac\"".to_owned(),
            ));
            None
        }
        _ => None,
    };
    let moderation = (draft.moderation_service_url.take(), draft.moderation_service_did.take());
    draft.config.moderation_service = match moderation {
        (Some(url), Some(did)) => Some(Service { url, did }),
        // Only one that was not given at all is complained of here.
        (Some(_), None) if !given.contains_key("moderation_service_did") => {
            problems.push(Problem(
                "moderation_service_did is missing: its tokens are known by it. Example: moderation_service_did = \"did:web:ozone.example.com\"".to_owned(),
            ));
            None
        }
        (None, Some(_)) if !given.contains_key("moderation_service_url") => {
            problems.push(Problem(
                "moderation_service_url is missing: moderation_service_did is of no use without it. Example: moderation_service_url = \"https://ozone.example.com\"".to_owned(),
            ));
            None
        }
        _ => None,
    };
    draft.config.mail = match (draft.smtp_url.take(), draft.email_from.take()) {
        (Some(smtp_url), Some(from)) => Some(Mail { smtp_url, from }),
        // A half that was given wrongly is complained of already.
        (Some(_), None) if !given.contains_key("email_from") => {
            problems.push(Problem(
                "email_from is missing: with smtp_url, mails need a sender. Example: email_from = \"pds@example.com\"".to_owned(),
            ));
            None
        }
        (None, Some(_)) if !given.contains_key("smtp_url") => {
            problems.push(Problem(
                "smtp_url is missing: email_from is of no use without it. Example: smtp_url = \"smtps://ada:p%40ss@smtp.example.com:465\"".to_owned(),
            ));
            None
        }
        _ => None,
    };
}

/// What is allowed but may surprise the owner.
fn notes(settings: &Settings) -> Vec<String> {
    let config = &settings.config;
    let mut notes = Vec::new();
    let mut note = |text: &str| notes.push(text.to_owned());
    if config.dev_mode {
        note(
            "dev_mode is on: the clock is believed without proof, and other servers are asked by plain http. Never let others use this server.",
        );
        return notes;
    }
    if config.mail.is_none() {
        note(
            "smtp_url is not set: no mail is sent, so nobody can reset a forgotten password or confirm an address.",
        );
    }
    if config.invite_required && config.admin_password.is_none() {
        note(
            "invite_required is on and admin_password is not set: nobody can make an invite code, so nobody can join.",
        );
    }
    if !config.rate_limits.enabled {
        note("rate_limits is off: one caller can keep this server busy, or guess passwords.");
    }
    if config.crawlers.is_empty() {
        note("crawlers is empty: no relay is asked to follow this server, so posts reach nobody elsewhere.");
    }
    if config.recovery_key.is_none() {
        note(
            "recovery_did_key is not set: if this server's keys are lost, its accounts' identities are lost with them.",
        );
    }
    notes
}
