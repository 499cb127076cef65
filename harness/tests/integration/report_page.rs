//! `report.html` in a real browser: it is whole without a network, fits a phone and paper, sorts and
//! zooms, and axe-core finds nothing that would keep a person from it, in light and in dark.
//!
//! Needs Chromium (`support/browser.rs`) and, for the audit, axe-core: `target/axe/package/axe.min.js`,
//! or what the environment's `AXE_CORE` says. Where it is missing the audit says so and passes, but
//! with `CI=true` it fails. `.ci/run` fetches it with `npm pack`.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::browser::{Browser, Page};
use crate::support::{Runs, TINY, await_some};

/// A run with measure phases of a fifth of a second, and the page that it wrote.
struct Report {
    _runs: Runs,
    page: PathBuf,
}

impl Report {
    fn new(options: &str) -> Self {
        let runs = Runs::of(&TINY.replace("measure_s = 0.4", "measure_s = 0.2"));
        let line = "run --transports tcp,sse,websocket --quiet";
        // How busy the machine is decides verdicts, and with them the status.
        let status = runs.run(&format!("{line} {options}")).status.code();
        assert!(matches!(status, Some(0 | 1)), "{status:?}");
        let page = runs.kept().expect("a run").join("report.html");
        assert!(page.is_file(), "every run writes its report");
        Self { _runs: runs, page }
    }

    fn open<'a>(&self, browser: &'a mut Browser) -> Page<'a> {
        let mut page = browser.open(&format!("file://{}", self.page.display()));
        await_some("the page", || {
            // The last thing that its script does is to show what zooms.
            let whole = "document.readyState === 'complete' \
                         && document.querySelector('.zoom')?.hidden === false";
            (page.value(whole) == true).then_some(())
        });
        page
    }
}

fn axe() -> Option<String> {
    let named = std::env::var_os("AXE_CORE").map(PathBuf::from);
    let path = named.unwrap_or_else(|| {
        concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../target/axe/package/axe.min.js"
        )
        .into()
    });
    if let Ok(source) = std::fs::read_to_string(&path) {
        return Some(source);
    }
    let missing = format!(
        "no axe-core at '{}': unpack 'npm pack axe-core' there, or set AXE_CORE",
        path.display()
    );
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{missing}");
    eprintln!("SKIPPED, nothing was tested: {missing}");
    None
}

/// What axe-core objects to: rule, and the first element.
fn violations(page: &mut Page<'_>, axe: &str) -> Value {
    page.value(&format!("{axe};0"));
    page.value(
        "axe.run(document).then(found => found.violations.map(v => \
         [v.id, v.nodes.length, v.nodes[0].html.slice(0, 200), v.nodes[0].failureSummary]))",
    )
}

fn show(page: &mut Page<'_>, width: u32, media: &str, scheme: &str) {
    let size =
        json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500 });
    page.ask("Emulation.setDeviceMetricsOverride", size);
    let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
    page.ask(
        "Emulation.setEmulatedMedia",
        json!({ "media": media, "features": features }),
    );
}

#[test]
fn the_report_of_a_run_fits_every_screen_and_axe_finds_nothing() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    // Enough trials for differences, so that the page has all that a page can have.
    let report = Report::new("--trials 5");
    let axe = axe();
    let mut page = report.open(&mut browser);
    for (width, media, scheme) in [
        (1280, "screen", "light"),
        (1280, "screen", "dark"),
        (390, "screen", "light"),
        (390, "screen", "dark"),
        (794, "print", "light"),
    ] {
        show(&mut page, width, media, scheme);
        for open in [false, true] {
            page.value(&format!(
                "document.querySelectorAll('details').forEach(fold => fold.open = {open})"
            ));
            let root = "document.documentElement";
            let wider = page.value(&format!("{root}.scrollWidth > {root}.clientWidth"));
            assert!(
                media == "print" || wider == false,
                "{width} {scheme}, open: {open}: the page scrolls sideways"
            );
            if let Some(axe) = &axe {
                let found = violations(&mut page, axe);
                assert_eq!(found, json!([]), "{width} {media} {scheme}, open: {open}");
            }
        }
    }
    // Nothing but the file itself was asked for.
    assert_eq!(
        page.value("performance.getEntriesByType('resource').length"),
        0
    );
    // Charts have a size, and in each variant only one is shown.
    let charts = "[...document.querySelectorAll('svg.chart')].filter(c => c.getBoundingClientRect().width > 100).length";
    show(&mut page, 1280, "screen", "light");
    let all = page.value("document.querySelectorAll('svg.chart').length");
    assert_eq!(page.value(charts).as_u64(), all.as_u64().map(|n| n - 1));
}

#[test]
fn tables_sort_by_exact_value_and_charts_over_time_zoom() {
    let Some(mut browser) = Browser::start() else {
        return;
    };
    let report = Report::new("--profiles stock,tuned");
    let mut page = report.open(&mut browser);
    let column = "[...document.querySelectorAll('table')[0].tBodies[0].rows].map(r => r.cells[4].dataset.value)";
    let values = |page: &mut Page<'_>| -> Vec<f64> {
        let values = page.value(column);
        let values = values.as_array().expect("a list").iter();
        values.filter_map(|v| v.as_str()?.parse().ok()).collect()
    };
    let before = values(&mut page);
    page.click("table th:nth-child(5) button");
    let up = values(&mut page);
    assert!(up.is_sorted(), "{up:?}");
    page.click("table th:nth-child(5) button");
    let down = values(&mut page);
    assert!(down.iter().rev().is_sorted(), "{down:?}");
    assert_eq!((before.len(), down.len()), (up.len(), up.len()));
    let state = page.value("document.querySelector('th[aria-sort]').getAttribute('aria-sort')");
    assert_eq!(state, "descending");

    let window =
        "document.querySelector('svg.plot').getAttribute('viewBox').split(' ').map(Number)";
    assert_eq!(page.value(window)[2], 1000);
    page.click("[data-zoom=in]");
    let zoomed = page.value(window);
    assert_eq!((&zoomed[0], &zoomed[2]), (&json!(250), &json!(500)));
    let ticks = page.value("[...document.querySelectorAll('.panels figure')[0].querySelectorAll('text.x')].map(t => t.textContent)");
    assert_eq!(ticks, json!(["0.05", "0.1", "0.15"]));
    page.click("[data-zoom=all]");
    assert_eq!(page.value(window)[0], 0);
}
