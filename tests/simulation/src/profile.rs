//! What a seed does. One profile is general; for each rule there is one whose misfortunes are those that the rule
//! guards against, so that its absence shows within few seeds. With all rules on, all profiles must pass.

use std::ops::Range;
use std::time::Duration;

use lodestone_meta::{LeaderOptions, Rules};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::gate::{Action, Class, Phase, Trap};

/// Milliseconds, from and to.
pub type Millis = Range<u64>;

/// What one run does.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Its name.
    pub name: &'static str,
    /// How long clients and director are at work.
    pub span: Duration,
    /// Processes that may lead.
    pub nodes: usize,
    /// Clients.
    pub clients: usize,
    /// Whether ingest uses any node's leader, or only its own node's.
    pub roaming: bool,
    /// Whether the bucket is a directory that forgets at a power failure what was not synced.
    pub directory: bool,
    /// The share of requests to the bucket that go wrong.
    pub faults: f64,
    /// How long a lost reply is waited for.
    pub timeout: Duration,
    /// The latest that a late or second copy arrives.
    pub latest: Duration,
    /// Misfortunes at particular requests.
    pub traps: Vec<Trap>,
    /// Time between the director's acts.
    pub acts: Millis,
    /// Weights of the director's acts.
    pub weights: Acts,
    /// How long a pause lasts.
    pub pause: Millis,
    /// Weights of what clients do.
    pub mix: Mix,
    /// Time between a client's requests.
    pub think: Millis,
    /// Time between jobs, two of three of which fold, the others index; `None`: there are none.
    pub folds: Option<Millis>,
    /// How long a fold waits between writing its part and proposing it.
    pub fold_hold: Millis,
    /// The share of writes that are too large for a slot object.
    pub large: f64,
    /// The share of replies between nodes that are lost.
    pub lost_replies: f64,
    /// Whether a client may give up waiting.
    pub impatient: f64,
    /// How leaders behave; its rules are replaced by those of the run.
    pub leader: LeaderOptions,
}

/// Weights of the director's acts.
#[derive(Debug, Clone, Copy)]
pub struct Acts {
    /// A node stands still for a while.
    pub pause: u32,
    /// A process ends at once and starts again.
    pub kill: u32,
    /// Another node claims the bucket.
    pub take_over: u32,
    /// A leader stops gracefully.
    pub stop: u32,
}

/// Weights of what clients do.
#[derive(Debug, Clone, Copy)]
pub struct Mix {
    /// Upserts by id.
    pub write: u32,
    /// Upserts that only create.
    pub insert: u32,
    /// Payload changes by filter.
    pub patch: u32,
    /// Strong reads through a node.
    pub read: u32,
    /// Eventual reads through a node.
    pub eventual: u32,
    /// Strong reads of the bucket, without a leader.
    pub leaderless: u32,
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn trap(class: Class, phase: Phase, action: Action, chance: f64) -> Trap {
    Trap { class, phase, action, chance }
}

impl Profile {
    /// The profile of a seed when no rule is looked for: half general, half one of the rules' own.
    pub fn of(seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed ^ 0x5eed);
        if rng.random_bool(0.5) {
            return Self::general(&mut rng);
        }
        let name = Rules::NAMES[rng.random_range(0..Rules::NAMES.len())];
        Self::against(name, seed)
    }

    /// The profile that looks for the absence of `rule`.
    pub fn against(rule: &'static str, seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed ^ 0xbad);
        let mut p = Self::base(&mut rng);
        p.name = rule;
        p.aim(rule);
        p
    }

    fn base(rng: &mut SmallRng) -> Self {
        Self {
            name: "base",
            span: ms(rng.random_range(15_000..25_000)),
            nodes: 2,
            clients: 3,
            roaming: false,
            directory: false,
            faults: 0.0,
            timeout: ms(800),
            latest: ms(8_000),
            traps: Vec::new(),
            acts: 800..3_000,
            weights: Acts { pause: 2, kill: 2, take_over: 3, stop: 1 },
            pause: 1_000..8_000,
            mix: Mix { write: 50, insert: 5, patch: 5, read: 30, eventual: 5, leaderless: 5 },
            think: 0..150,
            folds: Some(200..1_200),
            fold_hold: 0..50,
            large: 0.1,
            lost_replies: 0.0,
            impatient: 0.05,
            leader: LeaderOptions {
                lease: ms(1_000),
                lease_margin: ms(100),
                read_patience: ms(3_000),
                patience: ms(1_000),
                max_undecided: 32,
                checkpoint_slots: 8,
                checkpoint_idle: ms(700),
                gc_grace: ms(2_500),
                inline_page: 0,
                rules: Rules::default(),
            },
        }
    }

    fn general(rng: &mut SmallRng) -> Self {
        let mut p = Self::base(rng);
        p.name = "general";
        p.nodes = rng.random_range(2..=3);
        p.clients = rng.random_range(2..=4);
        p.roaming = rng.random();
        p.directory = rng.random_bool(0.25);
        p.faults = [0.0, 0.02, 0.05, 0.15][rng.random_range(0..4)];
        p.timeout = ms(rng.random_range(200..2_000));
        p.latest = ms(rng.random_range(1_000..15_000));
        p.lost_replies = [0.0, 0.05][rng.random_range(0..2)];
        let mut weight = |most| rng.random_range(0..=most);
        p.weights = Acts { pause: weight(5) + 1, kill: weight(4), take_over: weight(5), stop: weight(2) };
        p.pause = 200..rng.random_range(1_000..15_000);
        p.traps = (0..rng.random_range(0..5)).map(|_| Trap::draw(rng)).collect();
        if rng.random_bool(0.2) {
            p.folds = None;
        }
        p.fold_hold = 0..[50, 50, 6_000][rng.random_range(0..3)];
        p.leader.patience = ms(rng.random_range(300..2_500));
        p.leader.checkpoint_slots = rng.random_range(3..40);
        p.leader.checkpoint_idle = ms(rng.random_range(300..4_000));
        p.leader.inline_page = [0, 100_000][rng.random_range(0..2)];
        p
    }

    /// Turns a base profile against one rule.
    fn aim(&mut self, rule: &str) {
        use Action::{Hold, Kill, Late, LoseReply, Pause, Refuse};
        use Phase::{After, Before};
        match rule {
            "contended" => {
                self.roaming = true;
                self.mix = Mix { write: 40, insert: 20, patch: 20, read: 20, eventual: 0, leaderless: 0 };
                self.weights = Acts { pause: 0, kill: 0, take_over: 1, stop: 0 };
            }
            "create_only" => {
                self.traps = vec![trap(Class::Batch, Before, Late(1_500..6_000), 0.1)];
            }
            "epoch_counts" => {
                self.roaming = true;
                self.traps = vec![
                    trap(Class::Batch, Before, Late(300..4_000), 0.2),
                    trap(Class::Batch, Before, Hold(100..2_000), 0.2),
                ];
                self.weights = Acts { pause: 1, kill: 2, take_over: 6, stop: 0 };
            }
            "ordered" => {
                self.traps = vec![trap(Class::Batch, Before, Hold(200..2_000), 0.15)];
                self.weights = Acts { pause: 1, kill: 5, take_over: 3, stop: 0 };
            }
            "void_proof" => {
                // A slot is closed while its bytes are on their way; who closed it does not hear so and stands still,
                // until another has collected the slot and the bytes have arrived after all.
                self.traps = vec![
                    trap(Class::Batch, Before, Late(7_000..10_500), 0.03),
                    trap(Class::Void, Before, LoseReply, 1.0),
                    trap(Class::Void, After, Pause(8_000..11_500), 1.0),
                ];
                self.timeout = ms(2_500);
                self.leader.patience = ms(400);
                self.leader.gc_grace = ms(2_000);
                self.acts = 8_000..14_000;
                self.mix.read = 4;
                self.weights = Acts { pause: 0, kill: 0, take_over: 1, stop: 0 };
            }
            "recover_from_bucket" | "relist_at_end" => {
                self.traps = vec![
                    trap(Class::Batch, Before, Late(5_000..9_000), 0.06),
                    trap(Class::ReadRoot, After, Hold(4_000..15_000), 0.4),
                    trap(Class::ReadPage, After, Hold(4_000..15_000), 0.2),
                ];
                self.mix.leaderless = 25;
                self.weights = Acts { pause: 2, kill: 1, take_over: 4, stop: 1 };
                self.nodes = 3;
            }
            "claim_record" | "read_proof" => {
                self.weights = Acts { pause: 2, kill: 0, take_over: 5, stop: 0 };
            }
            "claim_recheck" => {
                self.nodes = 3;
                self.traps = vec![trap(Class::ClaimRecord, Before, Pause(8_000..16_000), 0.5)];
                self.mix = Mix { write: 60, insert: 0, patch: 0, read: 2, eventual: 10, leaderless: 0 };
                self.weights = Acts { pause: 0, kill: 2, take_over: 5, stop: 0 };
            }
            "lease_wait" => {
                self.weights = Acts { pause: 0, kill: 0, take_over: 5, stop: 2 };
                self.mix.read = 80;
                self.think = 0..40;
            }
            "parts_first" => {
                self.traps = vec![
                    trap(Class::Root, After, Kill, 0.1),
                    // A root may land long after its writer was refused to try again.
                    trap(Class::Root, Before, Late(500..6_000), 0.3),
                    trap(Class::Root, Before, Refuse, 0.3),
                ];
                self.weights = Acts { pause: 0, kill: 2, take_over: 1, stop: 1 };
            }
            "two_roots" => {
                self.leader.checkpoint_slots = 60;
                self.leader.checkpoint_idle = ms(5_000);
                self.leader.gc_grace = ms(1_500);
                self.weights = Acts { pause: 1, kill: 1, take_over: 1, stop: 0 };
            }
            "keep_marks" => {
                // The slot that a leader reserved last before it stood still is where the next one leaves its mark.
                self.traps = vec![trap(Class::Batch, Before, Pause(8_000..12_000), 0.02)];
                self.leader.patience = ms(20_000);
                self.leader.gc_grace = ms(2_000);
                self.mix.read = 5;
                self.acts = 500..1_500;
                self.weights = Acts { pause: 0, kill: 0, take_over: 2, stop: 0 };
            }
            "live_jobs" => {
                self.fold_hold = 0..8_000;
                self.large = 0.4;
                self.traps = vec![trap(Class::Batch, Before, Hold(2_000..6_000), 0.05)];
                self.leader.patience = ms(8_000);
                self.weights = Acts { pause: 1, kill: 1, take_over: 1, stop: 0 };
            }
            "job_epoch" => {
                self.fold_hold = 500..9_000;
                self.weights = Acts { pause: 0, kill: 0, take_over: 6, stop: 0 };
            }
            "resend_only_void" => {
                self.roaming = true;
                self.traps = vec![trap(Class::Batch, After, Hold(200..3_000), 0.2)];
                self.weights = Acts { pause: 1, kill: 1, take_over: 6, stop: 0 };
            }
            _ => {}
        }
    }
}
