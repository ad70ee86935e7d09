//! Logs: one JSON object per line on standard error, as hosts read them.
//!
//! A host parses each line by hclog's habits, and shows lines that it cannot
//! parse as they are: the time has exactly six decimals, and a line is shorter
//! than the 64 KiB after which it would be cut.

use std::{
    fmt,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    time::Duration,
};

use serde_json::{Map, Value};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

use super::Lookup;

/// What is logged, and under which name.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The name of the logger, for example `provider.ocir`.
    pub module: &'a str,
    /// Targets of our own begin with this. Other crates' logs are for TRACE.
    pub own: &'a str,
    /// What is logged at all.
    pub level: LevelFilter,
}

/// The level that the first of `variables` asks for that is set.
///
/// Without any, nothing: hosts show nothing then either. `JSON` is the host's
/// word for everything, in another form; an unfamiliar word means everything,
/// as it does for the host.
pub fn level(variables: &[&str], env: Lookup) -> LevelFilter {
    let set = variables
        .iter()
        .find_map(|variable| env(variable).filter(|value| !value.is_empty()));
    match set.map(|value| value.to_ascii_uppercase()).as_deref() {
        None | Some("OFF") => LevelFilter::OFF,
        Some("ERROR") => LevelFilter::ERROR,
        Some("WARN") => LevelFilter::WARN,
        Some("INFO") => LevelFilter::INFO,
        Some("DEBUG") => LevelFilter::DEBUG,
        Some(_) => LevelFilter::TRACE,
    }
}

/// Sends the process's logs to standard error until the guard is dropped.
/// Nothing happens when nothing is to be logged, or when there are logs already.
#[must_use = "dropping the guard waits for what is still to be written"]
pub fn to_stderr(options: Options) -> Guard {
    if options.level == LevelFilter::OFF {
        return Guard(None);
    }
    let Ok(sink) = Sink::new(std::io::stderr()) else {
        return Guard(None);
    };
    let guard = Guard(Some(sink.lines.clone()));
    let layer = HclogLayer::new(options, move |line| sink.write(line));
    let subscriber = tracing_subscriber::registry().with(layer);
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        return Guard(None);
    }
    guard
}

/// Waits, when dropped, until what was logged is written; not for long.
#[derive(Debug)]
pub struct Guard(Option<SyncSender<Item>>);

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(lines) = &self.0 else { return };
        let (done, written) = channel();
        if lines.try_send(Item::Flush(done)).is_ok() {
            // A host that does not read must not keep us.
            let _ = written.recv_timeout(Duration::from_millis(200));
        }
    }
}

/// Formats events; what becomes of the lines is the caller's.
pub struct HclogLayer<W> {
    module: String,
    own: String,
    level: LevelFilter,
    write: W,
    now: fn() -> OffsetDateTime,
}

impl<W: Fn(Vec<u8>) + 'static> HclogLayer<W> {
    /// A layer that hands each line, with its end, to `write`.
    pub fn new(options: Options, write: W) -> Self {
        Self {
            module: options.module.to_owned(),
            own: options.own.to_owned(),
            level: options.level,
            write,
            now: OffsetDateTime::now_utc,
        }
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let level = if metadata.target().starts_with(&self.own) {
            self.level
        } else if self.level == LevelFilter::TRACE {
            LevelFilter::TRACE
        } else {
            LevelFilter::OFF
        };
        *metadata.level() <= level
    }
}

impl<S, W> Layer<S> for HclogLayer<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Fn(Vec<u8>) + 'static,
{
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.wants(metadata)
    }
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, cx: Context<'_, S>) {
        if let Some(span) = cx.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }
    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, cx: Context<'_, S>) {
        if let Some(span) = cx.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }
    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        let mut line = Fields::default();
        for span in cx.event_scope(event).into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<Fields>() {
                for (key, value) in &fields.0 {
                    line.0.entry(key).or_insert_with(|| value.clone());
                }
            }
        }
        event.record(&mut line);
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        let module = if event.metadata().target().starts_with(&self.own) {
            self.module.clone()
        } else {
            format!("{}.{}", self.module, event.metadata().target())
        };
        // A time of our own clock can be formatted.
        let time = (self.now)().format(TIME).unwrap_or_default();
        for (key, value) in [
            ("@level", level),
            ("@module", &module),
            ("@timestamp", &time),
        ] {
            line.0.insert(key.to_owned(), value.into());
        }
        (self.write)(bounded(line.0));
    }
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        let key = match field.name() {
            "message" => "@message",
            name => name,
        };
        self.0.insert(key.to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        self.set(field, text);
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }
}

/// The line, with texts cut until it is short enough.
fn bounded(mut fields: Map<String, Value>) -> Vec<u8> {
    let mut limit = MAX_LINE / 2;
    loop {
        let mut line = Value::Object(fields.clone()).to_string().into_bytes();
        if line.len() < MAX_LINE {
            line.push(b'\n');
            return line;
        }
        for value in fields.values_mut() {
            if let Value::String(text) = value
                && text.len() > limit
            {
                text.truncate(text.floor_char_boundary(limit));
                text.push('…');
            }
        }
        if limit == 0 {
            // Thousands of fields: keep what every line has.
            fields.retain(|key, _| key.starts_with('@'));
        }
        limit /= 2;
    }
}

/// Writes lines in a thread of its own, so that a host that reads slowly does
/// not stop the work; what does not fit in between is counted and dropped.
struct Sink {
    lines: SyncSender<Item>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Item {
    Line(Vec<u8>),
    Flush(Sender<()>),
}

impl Sink {
    fn new(out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let (lines, received) = sync_channel(QUEUED_LINES);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = dropped.clone();
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write_all(out, &received, &counter))?;
        Ok(Self { lines, dropped })
    }

    fn write(&self, line: Vec<u8>) {
        if self.lines.try_send(Item::Line(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write_all(mut out: impl Write, lines: &Receiver<Item>, dropped: &AtomicU64) {
    // The host may be gone; then there is nobody to tell.
    for item in lines {
        match item {
            Item::Line(line) => {
                let _ = out.write_all(&line);
            }
            Item::Flush(done) => {
                let _ = out.flush();
                let _ = done.send(());
            }
        }
        let missing = dropped.swap(0, Ordering::Relaxed);
        if missing > 0 {
            let _ = writeln!(
                out,
                "[WARN] {missing} log lines were dropped because nobody read them in time"
            );
        }
    }
}

const MAX_LINE: usize = 60 * 1024;
const QUEUED_LINES: usize = 1024;
const TIME: &[BorrowedFormatItem] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use expect_test::expect;
    use time::macros::datetime;

    use super::*;

    #[track_caller]
    fn logged(level: LevelFilter, log: impl FnOnce()) -> String {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let options = Options {
            module: "provider.example",
            own: env!("CARGO_CRATE_NAME"),
            level,
        };
        let sink = lines.clone();
        let mut layer = HclogLayer::new(options, move |line| {
            sink.lock().unwrap().extend_from_slice(&line);
        });
        layer.now = || datetime!(2026-03-01 09:05:07.000_42 UTC);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let lines = lines.lock().unwrap().clone();
        String::from_utf8(lines).unwrap()
    }

    /// What hclog writes: level, message, module and time under `@`, fields beside.
    #[test]
    fn a_line_is_what_the_host_parses() {
        let lines = logged(LevelFilter::DEBUG, || {
            let span = tracing::info_span!("call", rpc = "ReadResource", attempt = 1);
            let _entered = span.enter();
            tracing::warn!(attempt = 2, gone = true, "repository \"x\" is gone");
        });
        expect![[r#"
            {"@level":"warn","@message":"repository \"x\" is gone","@module":"provider.example","@timestamp":"2026-03-01T09:05:07.000420Z","attempt":2,"gone":true,"rpc":"ReadResource"}
        "#]]
        .assert_eq(&lines);
    }

    /// The level counts, and other crates are heard at TRACE only.
    #[test]
    fn the_level_is_obeyed() {
        let log = || {
            tracing::debug!("ours");
            tracing::error!(target: "h2::codec", "theirs");
        };
        assert_eq!(logged(LevelFilter::INFO, log), "");
        assert_eq!(logged(LevelFilter::DEBUG, log).lines().count(), 1);
        let all = logged(LevelFilter::TRACE, log);
        assert_eq!(all.lines().count(), 2);
        assert!(
            all.contains(r#""@module":"provider.example.h2::codec""#),
            "{all}"
        );
    }

    /// A line that a host would cut is cut by us, and still JSON.
    #[test]
    fn long_lines_are_bounded() {
        for text in [
            "x".repeat(1 << 20),
            "\u{1}".repeat(1 << 20),
            "ü".repeat(1 << 20),
        ] {
            let line = logged(LevelFilter::INFO, || tracing::info!(text, "long"));
            assert!(line.len() < 64 * 1024, "{}", line.len());
            let value: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value["@message"], "long");
        }
    }

    /// The most particular variable decides; empty ones are not set.
    #[test]
    fn variables_have_an_order() {
        let read = |set: &[(&str, &str)]| {
            level(
                &["TF_LOG_PROVIDER_X", "TF_LOG_PROVIDER", "TF_LOG"],
                &|name| {
                    let found = set.iter().find(|(key, _)| *key == name);
                    found.map(|(_, value)| (*value).to_owned())
                },
            )
        };
        assert_eq!(read(&[]), LevelFilter::OFF);
        assert_eq!(read(&[("TF_LOG", "debug")]), LevelFilter::DEBUG);
        assert_eq!(read(&[("TF_LOG", "JSON")]), LevelFilter::TRACE);
        assert_eq!(
            read(&[("TF_LOG", "TRACE"), ("TF_LOG_PROVIDER", "ERROR")]),
            LevelFilter::ERROR
        );
        assert_eq!(
            read(&[("TF_LOG_PROVIDER", "ERROR"), ("TF_LOG_PROVIDER_X", "OFF")]),
            LevelFilter::OFF
        );
        assert_eq!(
            read(&[("TF_LOG_PROVIDER_X", ""), ("TF_LOG", "WARN")]),
            LevelFilter::WARN
        );
    }

    /// A host that does not read makes lines disappear, not work wait.
    #[test]
    fn a_full_pipe_does_not_block() -> anyhow::Result<()> {
        struct Stuck(Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                let _ = self.0.recv();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (release, stuck) = channel();
        let sink = Sink::new(Stuck(stuck))?;
        for _ in 0..QUEUED_LINES * 2 {
            sink.write(b"line\n".to_vec());
        }
        assert!(sink.dropped.load(Ordering::Relaxed) >= QUEUED_LINES as u64 - 1);
        drop(release);
        Ok(())
    }
}
