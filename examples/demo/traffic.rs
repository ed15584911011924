//! The visitors: a plain HTTP client that knows only the shop's address and is not traced.
//!
//! It sends at its own rate, even if the shop falls behind. While 128 requests wait for a response, it skips new ones.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, RequestBuilder};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::catalogue::{BROKEN_EVERY, CATEGORIES, PRODUCTS, WORDS, customer};
use crate::checkout::{Cart, Item};
use crate::payments::{DECLINED_CARD, EMPTY_CARD, GOOD_CARD, MISTYPED_CARD, SLOW_CARD};
use crate::random::Random;

/// Upper bound on the requests that wait for a response. Further requests are not sent.
const WAITING_MAX: usize = 128;
const PATIENCE: Duration = Duration::from_secs(8);
/// One visitor of 20 leaves if there is no answer after this time.
const IMPATIENCE_LIMIT: Duration = Duration::from_millis(80);

/// The visitors' actions, and the percentage of each.
const HABITS: [(u32, Habit); 8] = [
    (24, Habit::Browse),
    (24, Habit::Look),
    (14, Habit::Search),
    (10, Habit::AskForMore),
    (4, Habit::AskForShipping),
    (20, Habit::Buy),
    (2, Habit::FollowOldLink),
    (2, Habit::BuyNothing),
];

#[derive(Debug, Clone, Copy)]
enum Habit {
    Browse,
    Look,
    Search,
    AskForMore,
    AskForShipping,
    Buy,
    FollowOldLink,
    BuyNothing,
}

/// Sends `requests_per_second` to the base address `shop`, at most `requests_max` in all. Waits for the responses.
pub(crate) async fn visit(
    client: Client,
    shop: String,
    requests_per_second: f64,
    requests_max: Option<u64>,
) {
    let left = requests_max.unwrap_or(u64::MAX);
    if requests_per_second <= 0.0 || left == 0 {
        return;
    }
    // A rate whose interval is too long for a `Duration` means no traffic.
    let Ok(every) = Duration::try_from_secs_f64(1.0 / requests_per_second) else {
        return;
    };
    let mut clock = interval(every.max(Duration::from_nanos(1)));
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let waiting = Arc::new(Semaphore::new(WAITING_MAX));
    let mut random = Random::new(0x5110_77E5);
    let mut visitors = JoinSet::new();
    let mut sent = 0;
    while sent < left {
        clock.tick().await;
        while visitors.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&waiting).try_acquire_owned() else {
            continue;
        };
        let patience = if random.below(20) == 0 {
            IMPATIENCE_LIMIT
        } else {
            PATIENCE
        };
        let request = request(&mut random, &client, &shop).timeout(patience);
        visitors.spawn(async move {
            // The shop reports successes and failures itself.
            drop(request.send().await);
            drop(permit);
        });
        sent += 1;
    }
    visitors.join_all().await;
}

fn request(random: &mut Random, client: &Client, shop: &str) -> RequestBuilder {
    let product = 1 + random.favourite_below(PRODUCTS);
    match habit(random) {
        Habit::Browse => {
            let category = random.pick(&CATEGORIES).copied().unwrap_or_default();
            client.get(format!("{shop}/products?category={category}"))
        }
        Habit::Look => client.get(format!("{shop}/products/{product}")),
        Habit::Search => {
            let words: Vec<&str> = (0..=random.below(2))
                .filter_map(|_| random.pick(&WORDS).copied())
                .collect();
            client.get(format!("{shop}/search?q={}", words.join("+")))
        }
        Habit::AskForMore => client.get(format!("{shop}/products/{product}/recommendations")),
        Habit::AskForShipping => {
            // One in four requests is for a product with a broken feed, the others for a popular one.
            let id = match random.below(4) {
                0 => BROKEN_EVERY * (1 + random.below(PRODUCTS / BROKEN_EVERY)),
                _ => product,
            };
            client.get(format!("{shop}/products/{id}/shipping"))
        }
        Habit::Buy => client.post(format!("{shop}/checkout")).json(&cart(random)),
        Habit::FollowOldLink => client.get(format!("{shop}/products/{}", PRODUCTS + product)),
        Habit::BuyNothing => {
            let cart = Cart {
                items: Vec::new(),
                ..cart(random)
            };
            client.post(format!("{shop}/checkout")).json(&cart)
        }
    }
}

fn habit(random: &mut Random) -> Habit {
    let mut drawn = random.below(HABITS.iter().map(|(weight, _)| weight).sum());
    for (weight, habit) in HABITS {
        if drawn < weight {
            return habit;
        }
        drawn -= weight;
    }
    Habit::Browse
}

fn cart(random: &mut Random) -> Cart {
    let card = match random.below(100) {
        0..76 => GOOD_CARD,
        76..86 => DECLINED_CARD,
        86..91 => EMPTY_CARD,
        91..96 => SLOW_CARD,
        _ => MISTYPED_CARD,
    };
    let items = (0..=random.below(4))
        .map(|_| Item {
            product: 1 + random.favourite_below(PRODUCTS),
            quantity: 1 + random.below(2),
        })
        .collect();
    Cart {
        customer: customer(random),
        card: card.to_owned(),
        items,
    }
}
