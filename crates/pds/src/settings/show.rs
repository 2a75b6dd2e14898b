//! Shows settings: what is in force, and the documentation. Secrets are masked.

use std::fmt::Write;

use platform::time::format_rfc3339_millis;

use super::{
    Settings, TimeSource,
    given::AllGiven,
    table::{self, Default, GROUPS, Setting},
    value::{NONE, Value},
};

/// What stands for a secret.
const MASK: &str = "(set, not shown)";

/// One setting as it is in force.
#[derive(Clone, Debug)]
pub(super) struct InForce {
    name: &'static str,
    value: String,
    /// `default`, or the place where it was given.
    from: String,
}

impl Settings {
    /// What is in force, one setting a line with the place it comes from, in the form of a settings file.
    #[must_use]
    pub fn in_force(&self) -> String {
        let width =
            self.in_force.iter().map(|line| line.name.len() + line.value.len()).max().unwrap_or(0).min(60);
        let mut text = String::new();
        for InForce { name, value, from } in &self.in_force {
            let gap = width.saturating_sub(name.len() + value.len());
            // Writing to a text cannot fail.
            let _written = writeln!(text, "{name} = {value}{:gap$}  # {from}", "");
        }
        text
    }
}

/// Collects what is in force.
pub(super) fn in_force(settings: &Settings, given: &AllGiven) -> Vec<InForce> {
    let line = |setting: &'static Setting| {
        let value = current(settings, setting);
        let value = if setting.secret && value != quoted(NONE) { quoted(MASK) } else { value };
        let from = given.get(setting.name).map_or("default".to_owned(), |given| given.origin.to_string());
        InForce { name: setting.name, value, from }
    };
    table::all().map(line).collect()
}

/// A setting's value as one writes it in the file; of a secret only whether there is one.
fn current(settings: &Settings, setting: &Setting) -> String {
    let config = &settings.config;
    let set = |is_set: bool| quoted(if is_set { MASK } else { NONE });
    let text = |text: Option<&String>| quoted(text.map_or(NONE, String::as_str));
    match setting.name {
        "hostname" => quoted(&config.hostname),
        "port" => settings.listen.port().to_string(),
        "listen_address" => quoted(&settings.listen.ip().to_string()),
        "public_url" => quoted(&config.public_url),
        "data_dir" => quoted(&config.data_dir.display().to_string()),
        "dev_mode" => config.dev_mode.to_string(),
        "handle_domains" => {
            list(config.handle_domains.iter().map(|domain| domain.trim_start_matches('.').to_owned()))
        }
        "admin_password" => set(config.admin_password.is_some()),
        "invite_required" => config.invite_required.to_string(),
        "invite_interval" => quoted(&config.invite_interval.map_or(NONE.to_owned(), |span| {
            let hours = span.as_secs() / 3600;
            if hours % 24 == 0 { format!("{} days", hours / 24) } else { format!("{hours} hours") }
        })),
        "invite_epoch" => quoted(&format_rfc3339_millis(config.invite_epoch_us)),
        "plc_rotation_key_hex" => set(config.plc_rotation_key.is_some()),
        "recovery_did_key" => {
            text(config.recovery_key.as_ref().map(atproto::didkey::format_did_key).as_ref())
        }
        "age_assurance" => config.age_assurance.to_string(),
        "plc_url" => quoted(&config.plc_url),
        "appview_url" => text(config.appview.as_ref().map(|service| &service.url)),
        "appview_did" => text(config.appview.as_ref().map(|service| &service.did)),
        "report_service_url" => text(config.report_service.as_ref().map(|service| &service.url)),
        "report_service_did" => text(config.report_service.as_ref().map(|service| &service.did)),
        "moderation_service_url" => text(config.moderation_service.as_ref().map(|service| &service.url)),
        "moderation_service_did" => text(config.moderation_service.as_ref().map(|service| &service.did)),
        "crawlers" => list(config.crawlers.iter().cloned()),
        "trusted_proxies" => list(config.trusted_proxies.iter().map(ToString::to_string)),
        "smtp_url" => set(config.mail.is_some()),
        "email_from" => text(config.mail.as_ref().map(|mail| &mail.from)),
        "rate_limits" => config.rate_limits.enabled.to_string(),
        "rate_limit_bypass_key" => set(config.rate_limit_bypass_key.is_some()),
        "blob_upload_limit" => config.blob_bytes_max.to_string(),
        "import_limit" => config.import_bytes_max.to_string(),
        "metrics_address" => text(config.metrics_address.map(|address| address.to_string()).as_ref()),
        "time_verdict_file" => match &settings.time {
            TimeSource::Guard(file) => quoted(&file.display().to_string()),
            TimeSource::Kernel | TimeSource::Unproven => quoted(NONE),
        },
        "log_format" => quoted(if settings.log.json { "json" } else { "plain" }),
        "log_level" => quoted(&settings.log.level.to_string().to_ascii_lowercase()),
        _ => String::new(),
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn list(items: impl Iterator<Item = String>) -> String {
    toml::Value::Array(items.map(toml::Value::String).collect()).to_string()
}

/// Reads the right side of a line of the file, for the table's own texts.
pub(super) fn value_of_toml(text: &str) -> Value {
    let text = format!("x = {text}");
    let parsed = toml::from_str::<toml::Table>(&text).ok().and_then(|mut table| table.remove("x"));
    match parsed {
        Some(toml::Value::String(text)) => Value::Text(text),
        Some(toml::Value::Integer(number)) => Value::Number(number),
        Some(toml::Value::Boolean(on)) => Value::Switch(on),
        Some(toml::Value::Array(items)) => {
            Value::List(items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect())
        }
        _ => Value::Other("mistake in the table of settings"),
    }
}

/// The right side of a line of the file as one writes it in a variable.
pub(super) fn as_variable(text: &str) -> String {
    match value_of_toml(text) {
        Value::Text(text) => text,
        Value::List(items) => items.join(","),
        Value::Number(_) | Value::Switch(_) | Value::Other(_) => text.to_owned(),
    }
}

/// The documentation of all settings, in Markdown.
#[must_use]
pub fn document() -> String {
    let mut text = String::from(HEAD);
    for group in GROUPS {
        let _written = write!(text, "\n## {}\n", group.title);
        for setting in group.settings {
            describe(&mut text, setting);
        }
    }
    text
}

fn describe(text: &mut String, setting: &Setting) {
    let mut line = |words: String| {
        text.push_str(&words);
        text.push('\n');
    };
    line(format!("\n### `{}`\n", setting.name));
    line(format!("{}\n", setting.about));
    line(format!("* Form: {}.", setting.form.words()));
    line(format!("* Without it: {}.", default_words(setting.default)));
    if let Some(default) = setting.dev_default {
        line(format!("* Without it in dev mode: {}.", default_words(default)));
    }
    line(format!("* In the file: `{} = {}`", setting.name, setting.example));
    line(format!("* As a variable: `{}={}`", setting.variable(), as_variable(setting.example)));
    if setting.secret {
        line("* A secret: it is never shown, neither in the log nor by `--check-config`.".to_owned());
    }
}

fn default_words(default: Default) -> String {
    match default {
        Default::Required => "the server does not start".to_owned(),
        Default::Off => "off".to_owned(),
        Default::Is(value) => format!("`{value}`"),
        Default::Follows(words) => words.to_owned(),
    }
}

const HEAD: &str = "# Settings of `perch-pds`

<!-- Written by the program from its own table of settings; a test compares. To renew it:
     PERCH_WRITE_DOCS=1 cargo test -p pds --lib settings -->

`perch-pds --config FILE` reads one TOML file. Environment variables named `PERCH_PDS_` and the setting in capitals lie
over it; without a file they are enough. A list is written `a,b` in a variable. A name that is no setting is refused, in
the file and among the variables, so that a slip of the pen cannot go unnoticed.

    perch-pds --check-config --config FILE

says all that is wrong at once, each with its line or variable and a right example (exit code 2), or shows what is in
force and where it comes from, without secrets (exit code 0).

The least that a server needs:

    hostname = \"pds.example.com\"
    admin_password = \"nine random words or so\"

The word `none` switches off what has a default.
";
