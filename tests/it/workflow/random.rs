//! Random workflows that crash and are suspended at random points, and are replayed until they
//! finish. In every case, each span starts once and ends once, children are inside their parents,
//! and the ids are those of an undisturbed run.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap, HashSet},
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::Poll,
};

use futures_util::future::join_all;
use livespan::workflow::{Step, StepSpan, Workflow, Workflows};
use proptest::prelude::*;
use serde_json::Value as Json;

use super::event_lines::turn;
use crate::spans::live_provider::Watched;

#[derive(Clone, Debug)]
enum Node {
    Do,
    Fail,
    Retried(u8),
    Sleep,
    Wait,
    Sequence(Vec<Node>),
    Parallel(Vec<Node>),
    Loop(u8, Box<Node>),
    Scope(Vec<Node>),
}

fn node() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![
        Just(Node::Do),
        Just(Node::Fail),
        (1..3_u8).prop_map(Node::Retried),
        Just(Node::Sleep),
        Just(Node::Wait),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let list = prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            list.clone().prop_map(Node::Sequence),
            list.clone().prop_map(Node::Parallel),
            list.prop_map(Node::Scope),
            (1..4_u8, inner).prop_map(|(times, node)| Node::Loop(times, Box::new(node))),
        ]
    })
}

/// The way in which one run of the workflow ends, if it does not finish.
#[derive(Clone, Copy, Debug)]
enum Life {
    /// The process dies after this many results.
    Crash(u8),
    /// The engine drops the future after this many results.
    Suspend(u8),
}

fn life() -> impl Strategy<Value = Life> {
    prop_oneof![
        (0..4_u8).prop_map(Life::Crash),
        (0..4_u8).prop_map(Life::Suspend)
    ]
}

/// Keeps the results of all runs, like an engine's journal.
#[derive(Default)]
struct Engine {
    journal: RefCell<HashSet<String>>,
    /// The results of earlier runs that this run has not reached yet.
    replayed_left: Cell<usize>,
    fuel: Cell<u32>,
}

impl Engine {
    fn begin(&self, fuel: u32) {
        self.replayed_left.set(self.journal.borrow().len());
        self.fuel.set(fuel);
    }

    /// Returns the result of the leaf with this path: from the journal, or a new one. If the run is
    /// interrupted before this leaf, the future never completes.
    async fn result(&self, path: &str) {
        poll_fn(|_| {
            if self.journal.borrow().contains(path) {
                self.replayed_left
                    .set(self.replayed_left.get().saturating_sub(1));
                return Poll::Ready(());
            }
            let Some(left) = self.fuel.get().checked_sub(1) else {
                return Poll::Pending;
            };
            self.fuel.set(left);
            self.journal.borrow_mut().insert(path.to_owned());
            Poll::Ready(())
        })
        .await;
    }
}

/// Separates the branches in a path.
const BRANCH: char = '|';

/// Returns a step with this name. A branch continues as soon as its own result is available,
/// perhaps in another order in each run. So steps inside of branches have keys.
fn step(name: &'static str, path: &str) -> Step {
    let step = Step::new(name);
    if path.contains(BRANCH) {
        step.key(path)
    } else {
        step
    }
}

type Flow = Workflow<Box<dyn Fn() -> bool>>;

fn work<'a>(
    wf: &'a Flow,
    engine: &'a Engine,
    node: &'a Node,
    path: String,
) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
    Box::pin(async move {
        match node {
            Node::Do => wf.step(step("do", &path), engine.result(&path)).await,
            Node::Fail => {
                let failing = async {
                    engine.result(&path).await;
                    Err::<(), _>("it failed")
                };
                wf.step(step("fail", &path), failing).await.unwrap_err();
            }
            Node::Retried(times) => {
                let step = step("retried", &path);
                let retried = |span: StepSpan| async move {
                    engine.result(&path).await;
                    (0..*times).for_each(|time| span.retry(&time));
                };
                wf.step_with(step, retried).await;
            }
            Node::Sleep => {
                wf.sleep(step("sleep", &path), engine.result(&path)).await;
            }
            Node::Wait => {
                wf.wait(step("wait", &path).event("news"), engine.result(&path))
                    .await;
            }
            Node::Sequence(nodes) => {
                for (place, node) in nodes.iter().enumerate() {
                    work(wf, engine, node, format!("{path}.{place}")).await;
                }
            }
            Node::Parallel(nodes) => {
                let all = nodes.iter().enumerate();
                let all = all.map(|(place, node)| {
                    let path = format!("{path}.{BRANCH}{place}");
                    work(wf, engine, node, path)
                });
                join_all(all).await;
            }
            Node::Loop(times, node) => {
                for time in 0..*times {
                    work(wf, engine, node, format!("{path}.{time}")).await;
                }
            }
            Node::Scope(nodes) => {
                let step = step("scope", &path);
                let scope = wf.scope(step, |wf| async move {
                    for (place, node) in nodes.iter().enumerate() {
                        work(&wf, engine, node, format!("{path}.{place}")).await;
                    }
                });
                scope.await;
            }
        }
    })
}

/// Runs the workflow with these interruptions, and then to its end.
fn run(flows: &Workflows, root: &Rc<Node>, lives: &[Life], knows: Knows) {
    let engine = Rc::new(Engine::default());
    let last = std::iter::once(None);
    for life in lives.iter().copied().map(Some).chain(last) {
        engine.begin(match life {
            Some(Life::Crash(fuel) | Life::Suspend(fuel)) => fuel.into(),
            None => u32::MAX,
        });
        let asked = Rc::clone(&engine);
        let replaying: Box<dyn Fn() -> bool> = match knows {
            Knows::WhenItReplays => Box::new(move || asked.replayed_left.get() > 0),
            Knows::Nothing => Box::new(|| false),
        };
        let wf = flows.instance("42").replaying(replaying);
        let (engine, root) = (Rc::clone(&engine), Rc::clone(root));
        let mut future: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move {
            wf.run("Root", work(&wf, &engine, &root, String::new()))
                .await;
        });
        match (turn(future.as_mut()), life) {
            (Poll::Ready(()), _) => return,
            // A crash drops no future.
            (Poll::Pending, Some(Life::Crash(_))) => drop(Box::leak(Box::new(future))),
            (Poll::Pending, _) => {}
        }
    }
    panic!("the last run must finish");
}

/// Whether the engine knows when it replays.
#[derive(Clone, Copy, Debug)]
enum Knows {
    Nothing,
    WhenItReplays,
}

#[derive(Clone, Debug, PartialEq)]
struct Span {
    name: String,
    parent: Json,
    failed: bool,
}

/// Returns every span by its id. Asserts that each starts once and ends once, inside its parent.
fn spans(events: &[Json]) -> BTreeMap<String, Span> {
    let mut open: HashMap<&Json, usize> = HashMap::new();
    let mut spans = BTreeMap::new();
    let mut started = HashSet::new();
    for event in events.iter().filter(|one| one["type"] != "process") {
        let (id, parent) = (&event["spanId"], &event["parentSpanId"]);
        match event["type"].as_str().unwrap() {
            "started" => {
                assert!(started.insert(id), "{event} is started again");
                assert!(
                    parent.is_null() || open.contains_key(parent),
                    "{event} is outside its parent"
                );
                *open.entry(parent).or_default() += 1;
                open.insert(id, 0);
            }
            "updated" => assert!(open.contains_key(id), "{event} is not of an open span"),
            "ended" => {
                assert_eq!(
                    open.remove(id),
                    Some(0),
                    "{event} is not open, or not the last of its children"
                );
                *open.get_mut(parent).unwrap() -= 1;
                let span = Span {
                    name: event["name"].as_str().unwrap().to_owned(),
                    parent: parent.clone(),
                    failed: event["status"]["code"] == "ERROR",
                };
                assert!(
                    spans.insert(id.to_string(), span).is_none(),
                    "{event} is ended again"
                );
                assert!(event["lost"].is_null(), "{event}");
            }
            other => panic!("{other}"),
        }
    }
    open.remove(&Json::Null);
    assert!(open.is_empty(), "{open:?} are never ended");
    spans
}

fn shown(root: &Rc<Node>, lives: &[Life], knows: Knows) -> BTreeMap<String, Span> {
    let watched = Watched::new();
    run(&Workflows::new(&watched.live), root, lives, knows);
    spans(&watched.events())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    #[test]
    fn every_span_is_reported_once_whatever_crashes(
        root in node(),
        lives in prop::collection::vec(life(), 0..6),
    ) {
        let root = Rc::new(root);
        let whole = shown(&root, &[], Knows::Nothing);
        for knows in [Knows::Nothing, Knows::WhenItReplays] {
            prop_assert_eq!(&shown(&root, &lives, knows), &whole);
        }
    }
}

#[test]
fn branches_that_overtake_each_other_keep_their_spans() {
    let scope = |node| Node::Scope(vec![node]);
    let twice = Node::Loop(2, Box::new(scope(Node::Fail)));
    let root = Rc::new(Node::Parallel(vec![twice, scope(Node::Retried(1))]));
    let whole = shown(&root, &[], Knows::Nothing);
    for knows in [Knows::Nothing, Knows::WhenItReplays] {
        for results in 0..3 {
            let lives = [Life::Crash(results), Life::Suspend(results)];
            for life in lives {
                assert_eq!(shown(&root, &[life], knows), whole, "{life:?} {knows:?}");
            }
        }
    }
}
