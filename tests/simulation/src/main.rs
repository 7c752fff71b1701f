//! Runs many seeds of the simulation, or one with its trace.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use lodestone_meta::Rules;
use lodestone_simulation::{Profile, Verdict, run};
use parking_lot::Mutex;

/// The write protocol's real code under pauses, kills, lost replies and late copies.
#[derive(Parser)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Runs this seed alone.
    #[arg(long)]
    seed: Option<u64>,
    /// Switches one rule off and uses the misfortunes that look for it.
    #[arg(long)]
    without: Option<String>,
    /// Uses the misfortunes that look for this rule, with all rules on.
    #[arg(long)]
    profile: Option<String>,
    /// Prints every step.
    #[arg(long)]
    trace: bool,
    /// Goes on after the first violation.
    #[arg(long)]
    all: bool,
    /// Threads.
    #[arg(long)]
    jobs: Option<usize>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let rules = match &arguments.without {
        None => Rules::default(),
        Some(name) => match Rules::without(name) {
            Some(rules) => rules,
            None => return unknown_rule(name),
        },
    };
    let aim = match arguments.without.as_ref().or(arguments.profile.as_ref()) {
        None => None,
        Some(name) => match Rules::NAMES.iter().find(|known| *known == name) {
            Some(name) => Some(*name),
            None => return unknown_rule(name),
        },
    };
    let one = |seed: u64| -> Verdict {
        let profile = aim.map_or_else(|| Profile::of(seed), |rule| Profile::against(rule, seed));
        run(seed, profile, rules, arguments.trace)
    };
    if let Some(seed) = arguments.seed {
        let verdict = one(seed);
        report(&verdict);
        println!("{}", verdict.counts);
        return if verdict.violation.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let began = Instant::now();
    let (next, indexes) = (AtomicU64::new(arguments.from), AtomicU64::new(0));
    let end = arguments.from + arguments.seeds;
    let bad: Mutex<Vec<Verdict>> = Mutex::default();
    let jobs =
        arguments.jobs.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || (!arguments.all && !bad.lock().is_empty()) {
                        return;
                    }
                    let verdict = one(seed);
                    indexes.fetch_add(verdict.indexes, Ordering::Relaxed);
                    if verdict.violation.is_some() {
                        report(&verdict);
                        bad.lock().push(verdict);
                    }
                }
            });
        }
    });
    let ran = next.load(Ordering::Relaxed).min(end) - arguments.from;
    let violations = bad.lock().len();
    let seconds = began.elapsed().as_secs_f64();
    let indexes = indexes.into_inner();
    println!(
        "{ran} seeds, {violations} violations, {indexes} indexes landed, {seconds:.1} s, {:.0} seeds/s",
        ran as f64 / seconds
    );
    if violations > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn unknown_rule(name: &str) -> ExitCode {
    println!("there is no rule `{name}`; the rules are: {}", Rules::NAMES.join(" "));
    ExitCode::from(2)
}

fn report(verdict: &Verdict) {
    if let Some(violation) = &verdict.violation {
        println!("seed {} ({}): {violation}", verdict.seed, verdict.profile);
    }
}
