//! Every setting of `perch-pds`: its name, form, default and meaning. The program, its check and the documentation all
//! read this one table.

use super::value::Form;

/// What holds when a setting is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Default {
    /// It must be given.
    Required,
    /// Nothing: what it is for is switched off.
    Off,
    /// A value, as one writes it in the file.
    Is(&'static str),
    /// It follows from other settings, in these words.
    Follows(&'static str),
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    /// Its key in the file; the variable is `PERCH_PDS_` and the same in capitals.
    pub(super) name: &'static str,
    /// What its value looks like.
    pub(super) form: Form,
    /// What holds without it.
    pub(super) default: Default,
    /// What holds without it in dev mode, where that differs.
    pub(super) dev_default: Option<Default>,
    /// A right value, as one writes it in the file.
    pub(super) example: &'static str,
    /// Its value is never shown.
    pub(super) secret: bool,
    /// What it means to the owner, in Markdown.
    pub(super) about: &'static str,
}

impl Setting {
    const fn new(name: &'static str, form: Form, default: Default, example: &'static str) -> Self {
        Self { name, form, default, dev_default: None, example, secret: false, about: "" }
    }

    const fn in_dev(self, default: Default) -> Self {
        Self { dev_default: Some(default), ..self }
    }

    const fn secret(self) -> Self {
        Self { secret: true, ..self }
    }

    const fn about(self, about: &'static str) -> Self {
        Self { about, ..self }
    }

    /// What holds when it is not given.
    pub(super) fn default_in(&self, dev_mode: bool) -> Default {
        if dev_mode { self.dev_default.unwrap_or(self.default) } else { self.default }
    }

    /// The name of its environment variable.
    pub(super) fn variable(&self) -> String {
        format!("{}{}", super::ENV_PREFIX, self.name.to_ascii_uppercase())
    }
}

/// A group of settings, as the documentation shows them.
#[derive(Debug)]
pub(super) struct Group {
    /// Its heading.
    pub(super) title: &'static str,
    /// What belongs to it.
    pub(super) settings: &'static [Setting],
}

/// The settings, in the order in which they are shown.
pub(super) const GROUPS: &[Group] = &[
    Group { title: "The server", settings: SERVER },
    Group { title: "Accounts and identity", settings: ACCOUNTS },
    Group { title: "Other servers", settings: OTHERS },
    Group { title: "Mail", settings: MAIL },
    Group { title: "Limits", settings: LIMITS },
    Group { title: "Running it", settings: RUNNING },
];

/// All settings.
pub(super) fn all() -> impl Iterator<Item = &'static Setting> {
    GROUPS.iter().flat_map(|group| group.settings)
}

const SERVER: &[Setting] = &[
    Setting::new("hostname", Form::Host, Default::Required, "\"pds.example.com\"")
        .in_dev(Default::Is("\"localhost\""))
        .about("The name of this server on the internet, without `https://` and port. The server's identity is `did:web:` and this name, and accounts refer to it: choose it once."),
    Setting::new("port", Form::Port, Default::Is("2583"), "2583")
        .about("The port on which it listens, with plain HTTP. TLS is the reverse proxy's task."),
    Setting::new("listen_address", Form::Address, Default::Is("\"::\""), "\"127.0.0.1\"")
        .in_dev(Default::Is("\"127.0.0.1\""))
        .about("The address on which it listens. `::` is every IPv6 and IPv4 address of the machine. With the reverse proxy on the same machine, `127.0.0.1` keeps everybody else out."),
    Setting::new("public_url", Form::Url, Default::Follows("`https://` and the hostname; in dev mode `http://`, the hostname and the port"), "\"https://pds.example.com\"")
        .about("The address that apps use and DID documents name. Its host must be `hostname`."),
    Setting::new("data_dir", Form::Path, Default::Is("\"/var/lib/perch-pds\""), "\"/var/lib/perch-pds\"")
        .about("Where everything durable lives: database, blobs and keys. On a local disk, not on a network share."),
    Setting::new("dev_mode", Form::Switch, Default::Is("false"), "true")
        .about("For tests on one's own machine: plain http to other servers, loopback peers, names such as `localhost` and `.test`, no relay and no AppView unless they are named, a free choice of the admin password's length, `/metrics` on the main port for loopback, and the computer's clock is believed without proof. Never on a server that others use."),
];

const ACCOUNTS: &[Setting] = &[
    Setting::new("handle_domains", Form::Domains, Default::Follows("`hostname`; in dev mode with `localhost`, `.test`"), "[\"pds.example.com\"]")
        .about("The domains under which handles are given out: with `example.com`, `ada.example.com`. With or without a leading dot. Each needs a wildcard DNS record and certificate."),
    Setting::new("admin_password", Form::Secret { chars_min: 12 }, Default::Off, "\"nine random words or so\"")
        .secret()
        .about("The password of the user `admin`, with which accounts are administered over HTTP. Without it that is switched off. At least 12 characters."),
    Setting::new("invite_required", Form::Switch, Default::Is("true"), "true")
        .in_dev(Default::Is("false"))
        .about("New accounts need an invite code. A server that lets anybody in is soon full of spam, and relays stop listening to it."),
    Setting::new("invite_interval", Form::Span, Default::Off, "\"7 days\"")
        .about("With `invite_required`, an account earns an invite code to give away for each such span that it has lived, and holds five unused ones at most. Without it only the administrator makes codes."),
    Setting::new("invite_epoch", Form::Moment, Default::Is("\"1970-01-01T00:00:00Z\""), "\"2026-11-23T00:00:00Z\"")
        .about("Life before this moment earns no invite codes."),
    Setting::new("plc_rotation_key_hex", Form::PrivateKey, Default::Off, "\"<64 hexadecimal digits>\"")
        .secret()
        .about("The private key (secp256k1) that signs this server's operations in the PLC directory. Without it one is made at the first start and kept in `data_dir`, and is in your backups. Give the old one when you move from another PDS."),
    Setting::new("recovery_did_key", Form::PublicKey, Default::Off, "\"did:key:zQ3shZc2QzApp2oymGvQbzP8eKheVshBHbU4ZYjeXqwSKEn6N\"")
        .about("A public key of yours that every new identity gets before the server's own: whoever holds its private half can undo within 72 hours what this server did."),
    Setting::new("age_assurance", Form::Switch, Default::Is("false"), "true")
        .about("Answers the app's questions about age assurance here, with \"assured\", instead of passing them on to the AppView. For a server whose owner knows the people on it."),
];

const OTHERS: &[Setting] = &[
    Setting::new("plc_url", Form::Url, Default::Is("\"https://plc.directory\""), "\"https://plc.directory\"")
        .in_dev(Default::Required)
        .about("The PLC directory. A data folder belongs to one directory for ever. In dev mode it has no default, so that no test writes to the real one by accident."),
    Setting::new("appview_url", Form::OptionalUrl, Default::Is("\"https://api.bsky.app\""), "\"https://api.bsky.app\"")
        .in_dev(Default::Off)
        .about("The AppView: reading calls that this server does not answer itself go there. `none` for no AppView."),
    Setting::new("appview_did", Form::Did, Default::Follows("`did:web:` and the host of `appview_url`"), "\"did:web:api.bsky.app\"")
        .about("The AppView's DID."),
    Setting::new("report_service_url", Form::OptionalUrl, Default::Is("\"https://mod.bsky.app\""), "\"https://mod.bsky.app\"")
        .in_dev(Default::Off)
        .about("Where reports go that name no service. `none` for nowhere."),
    Setting::new("report_service_did", Form::Did, Default::Follows("`did:plc:ar7c4by46qjdydhdevvrndac` with the default `report_service_url`; else it must be given"), "\"did:plc:ar7c4by46qjdydhdevvrndac\"")
        .about("The report service's DID."),
    Setting::new("moderation_service_url", Form::OptionalUrl, Default::Off, "\"https://ozone.example.com\"")
        .about("A moderation service of yours (Ozone) that may take accounts and records of this server down."),
    Setting::new("moderation_service_did", Form::Did, Default::Off, "\"did:web:ozone.example.com\"")
        .about("The moderation service's DID. Needed with `moderation_service_url`."),
    Setting::new("crawlers", Form::Urls, Default::Is("[\"https://bsky.network\"]"), "[\"https://bsky.network\"]")
        .in_dev(Default::Is("[]"))
        .about("The relays that are asked to follow this server. Without one, posts reach nobody elsewhere."),
    Setting::new("trusted_proxies", Form::Networks, Default::Is("[\"loopback\"]"), "[\"loopback\", \"172.17.0.0/16\"]")
        .about("The reverse proxies whose `X-Forwarded-For` is believed: addresses, networks, or the words `loopback`, `linklocal` and `uniquelocal`. The header is read from the right, as far as trusted addresses go; what a stranger writes into it counts for nothing. The reference also believes private networks without being told; a router or container host that rewrites addresses would then let anybody choose theirs."),
];

const MAIL: &[Setting] = &[
    Setting::new("smtp_url", Form::Smtp, Default::Off, "\"smtps://ada:p%40ss@smtp.example.com:465\"")
        .secret()
        .about("How mail leaves: `smtps://user:password@host:465` (TLS from the start) or `smtp://user:password@host:587` (STARTTLS, without which nothing is sent). A password with `@`, `/`, `#` or `:` works as it is and percent-encoded (`%40`, `%2F`, `%23`, `%3A`); a `%` before two hexadecimal digits is written `%25`. Without this setting no mail is sent."),
    Setting::new("email_from", Form::Mailbox, Default::Off, "\"Ada's PDS <pds@example.com>\"")
        .about("The sender of mails. Needed with `smtp_url`."),
];

const LIMITS: &[Setting] = &[
    Setting::new("rate_limits", Form::Switch, Default::Is("true"), "true")
        .about("Limits how often one account and one address may call. Off only on a closed network."),
    Setting::new(
        "rate_limit_bypass_key",
        Form::Secret { chars_min: 16 },
        Default::Off,
        "\"openssl rand -hex 16\"",
    )
    .secret()
    .about("Whoever sends it as header `x-ratelimit-bypass` is not limited. At least 16 characters."),
    Setting::new(
        "blob_upload_limit",
        Form::Bytes { min: 1_000_000, max: 10_737_418_240 },
        Default::Is("\"100 MiB\""),
        "\"100 MiB\"",
    )
    .about("The largest blob. The usual app's videos reach 100 MB; a reverse proxy has a limit of its own."),
    Setting::new(
        "import_limit",
        Form::Bytes { min: 1_000_000, max: 107_374_182_400 },
        Default::Is("\"1 GiB\""),
        "\"1 GiB\"",
    )
    .about("The largest repository that an account may bring along. A million records are about 500 MB."),
];

const RUNNING: &[Setting] = &[
    Setting::new("metrics_address", Form::MetricsAddress, Default::Is("\"127.0.0.1:2584\""), "\"127.0.0.1:2584\"")
        .in_dev(Default::Off)
        .about("Where `/metrics` is served for Prometheus: an address of this machine that only it or a private network reaches, with its port. `none` for nowhere. It is a listener of its own, so that no reverse proxy can lay it open by mistake."),
    Setting::new("time_verdict_file", Form::Path, Default::Off, "\"/run/perch/timeguard/verdict.json\"")
        .about("The word of Perch's time guard, when one runs on this machine. Without it the clock is trusted while the kernel says that it is synchronised to within 5 s, as chrony, ntpd and systemd-timesyncd tell it."),
    Setting::new("log_format", Form::LogFormat, Default::Is("\"plain\""), "\"json\"")
        .about("How the log is written to standard error: `plain` lines, or `json` objects, one a line."),
    Setting::new("log_level", Form::LogLevel, Default::Is("\"info\""), "\"info\"")
        .about("What is logged: `error`, `warn`, `info`, `debug` (each call with its status and time) or `trace`."),
];
