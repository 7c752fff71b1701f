//! Each rule, switched off, is missed; with it, the same seed shows nothing.

use lodestone_meta::Rules;
use lodestone_simulation::{Profile, run};

/// For each rule a seed that shows its absence. A change of the code moves the seeds: then the next ones are tried,
/// and `lodestone-simulation --without RULE` says the new one.
const FOUND: [(&str, u64); 17] = [
    ("contended", 0),
    ("create_only", 3),
    ("epoch_counts", 3),
    ("ordered", 0),
    ("void_proof", 284),
    ("recover_from_bucket", 3),
    ("claim_record", 0),
    ("claim_recheck", 2),
    ("read_proof", 111),
    ("lease_wait", 2),
    ("parts_first", 0),
    ("relist_at_end", 0),
    ("two_roots", 0),
    ("keep_marks", 1),
    ("live_jobs", 6),
    ("job_epoch", 2),
    ("resend_only_void", 0),
];

/// After so many seeds the simulation is too weak.
const ENOUGH: u64 = 1_500;

fn shows(rule: &'static str, rules: Rules, seed: u64) -> Option<String> {
    run(seed, Profile::against(rule, seed), rules, false).violation
}

#[test]
fn every_rule_has_a_seed() {
    let mut named: Vec<&str> = FOUND.iter().map(|(rule, _)| *rule).collect();
    let mut rules = Rules::NAMES.to_vec();
    named.sort_unstable();
    rules.sort_unstable();
    assert_eq!(named, rules);
}

#[test]
fn every_rule_is_missed_when_it_is_off() {
    for (rule, recorded) in FOUND {
        let off = Rules::without(rule).unwrap();
        let seeds = std::iter::once(recorded).chain(0..ENOUGH);
        let mut found = seeds.filter_map(|seed| Some((seed, shows(rule, off, seed)?)));
        let (seed, violation) = found.next().unwrap_or_else(|| panic!("nobody misses the rule {rule}"));
        println!("{rule}: seed {seed}: {violation}");
        assert_eq!(shows(rule, Rules::default(), seed), None, "{rule}, seed {seed}, with all rules on");
    }
}
