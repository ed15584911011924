//! What a run of a workflow looks like.

use std::io;

use livespan::workflow::Workflows;

use crate::{spans::watched::Watched, support::block_on};

#[test]
fn a_workflow_is_one_trace_with_its_steps_below_the_root() {
    let watched = Watched::new();
    let flows = Workflows::new(&watched.live).namespace("orders");
    let wf = flows.instance("order-42");
    block_on(wf.run("Order", async {
        wf.step("charge", async { Ok::<_, io::Error>(()) }).await?;
        wf.scope("ship", |wf| async move {
            wf.step("label", async { Err::<(), _>("no printer") }).await
        })
        .await
        .map_err(io::Error::other)
    }))
    .unwrap_err();
    let expected = [
        "process",
        "started Order",
        "started charge",
        "ended charge",
        "started ship",
        "started label",
        "ended label",
        "ended ship",
        "ended Order",
    ];
    assert_eq!(watched.story(), expected);
}
