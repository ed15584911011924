//! The payment service: a second logical service in this process, instrumented by hand with OpenTelemetry's own API.
//!
//! Some card numbers have a fixed outcome, as with the test cards of payment providers.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use livespan::LiveFutureExt as _;
use livespan::otel::LiveTracer;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_http::HeaderExtractor;
use serde::{Deserialize, Serialize};
use tokio::time::interval;

use crate::calls::Problem;

/// The test cards: one that pays, one that is declined, one without funds, and one whose bank is
/// slow.
pub(crate) const GOOD_CARD: &str = "4242424242424242";
pub(crate) const DECLINED_CARD: &str = "4000000000000002";
pub(crate) const EMPTY_CARD: &str = "4000000000009995";
pub(crate) const SLOW_CARD: &str = "4000000000003220";
/// A card with two digits exchanged.
pub(crate) const MISTYPED_CARD: &str = "4242424242424224";

const LIMIT_CENTS: i64 = 60_000;
/// The banks' batch window. A bank answers at the end of a window.
const BANK_WINDOW: Duration = Duration::from_millis(45);

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Charge {
    pub(crate) card: String,
    pub(crate) amount_cents: i64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) charge: String,
}

#[derive(Debug)]
enum Declined {
    CardNumber,
    OverLimit,
    ByBank(&'static str),
}

type Payments = Arc<LiveTracer>;

/// Returns the payment service's routes.
pub(crate) fn router(tracer: LiveTracer) -> Router {
    Router::new()
        .route("/charges", post(charge))
        .with_state(Arc::new(tracer))
}

async fn charge(
    State(tracer): State<Payments>,
    headers: HeaderMap,
    Json(charge): Json<Charge>,
) -> Result<Json<Receipt>, (StatusCode, Json<Problem>)> {
    let caller = global::get_text_map_propagator(|propagator| {
        propagator.extract(&HeaderExtractor(&headers))
    });
    let span = tracer
        .span_builder("POST /charges")
        .with_kind(SpanKind::Server)
        .with_attributes([
            KeyValue::new("http.request.method", "POST"),
            KeyValue::new("http.route", "/charges"),
            KeyValue::new("payment.amount_cents", charge.amount_cents),
            KeyValue::new("payment.card", masked(&charge.card)),
        ])
        .start_with_context(&*tracer, &caller);
    let context = caller.with_span(span);
    // If the shop gives up, axum drops this future, and the charge is cancelled.
    let outcome = authorise(&tracer, &charge).live(context.clone()).await;
    let status = if outcome.is_ok() {
        StatusCode::OK
    } else {
        StatusCode::PAYMENT_REQUIRED
    };
    let span = context.span();
    span.set_attribute(KeyValue::new(
        "http.response.status_code",
        i64::from(status.as_u16()),
    ));
    if let Err(declined) = &outcome {
        span.record_error(declined);
        span.set_status(Status::error(declined.to_string()));
    }
    span.end();
    match outcome {
        Ok(receipt) => Ok(Json(receipt)),
        Err(declined) => Err((
            status,
            Json(Problem {
                error: declined.to_string(),
            }),
        )),
    }
}

async fn authorise(tracer: &LiveTracer, charge: &Charge) -> Result<Receipt, Declined> {
    tracer.in_span("check card number", |context| {
        let valid = passes_luhn(&charge.card);
        context
            .span()
            .set_attribute(KeyValue::new("payment.card_valid", valid));
        if valid {
            Ok(())
        } else {
            Err(Declined::CardNumber)
        }
    })?;
    if charge.amount_cents > LIMIT_CENTS {
        return Err(Declined::OverLimit);
    }
    ask_bank(tracer, charge).await
}

/// Asks the card's bank, which answers after several of its batch windows.
async fn ask_bank(tracer: &LiveTracer, charge: &Charge) -> Result<Receipt, Declined> {
    let (windows, answer) = match charge.card.as_str() {
        DECLINED_CARD => (3, Err(Declined::ByBank("card declined"))),
        EMPTY_CARD => (5, Err(Declined::ByBank("insufficient funds"))),
        SLOW_CARD => (70, Ok(())),
        _ => (2 + charge.amount_cents % 7, Ok(())),
    };
    let bank: String = charge.card.chars().take(4).collect();
    let span = tracer
        .span_builder("ask bank")
        .with_kind(SpanKind::Client)
        .with_attributes([KeyValue::new("bank.prefix", bank)])
        .start(tracer);
    let context = Context::current_with_span(span);
    let mut window = interval(BANK_WINDOW);
    for waited in 0..=windows {
        window.tick().await;
        if waited > 0 && waited % 20 == 0 {
            let attributes = vec![KeyValue::new("windows", waited)];
            context
                .span()
                .add_event("still waiting for the bank", attributes);
        }
    }
    let span = context.span();
    if let Err(declined) = &answer {
        span.record_error(declined);
        span.set_status(Status::error(declined.to_string()));
    }
    let charge = format!("ch_{}", span.span_context().span_id());
    span.end();
    answer.map(|()| Receipt { charge })
}

/// Checks the check digit of a card number.
fn passes_luhn(card: &str) -> bool {
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let digits: Option<Vec<u32>> = card.chars().rev().map(|c| c.to_digit(10)).collect();
    digits.is_some_and(|digits| {
        let sum: u32 = digits
            .iter()
            .enumerate()
            .map(|(i, &d)| if i % 2 == 1 { doubled(d) } else { d })
            .sum();
        !digits.is_empty() && sum.is_multiple_of(10)
    })
}

fn masked(card: &str) -> String {
    let last: Vec<char> = card.chars().rev().take(4).collect();
    format!("…{}", last.into_iter().rev().collect::<String>())
}

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CardNumber => f.write_str("card number is not valid"),
            Self::OverLimit => write!(f, "amount is over the limit of {LIMIT_CENTS} cents"),
            Self::ByBank(why) => write!(f, "bank says: {why}"),
        }
    }
}

impl Error for Declined {}
