//! The dashboard in a real Chromium, against real servers: what a person sees.
//!
//! Needs the Debian packages `chromium` and `chromium-driver`; without them it fails and says so.

mod accessibility;
mod app;
mod attacks;
mod cut;
mod dashboard;
mod driver;
mod finding;
mod flame;
mod inside;
mod keyboard;
mod original_client;
mod paint;
mod product_page;
mod streams;
mod trace_file;
mod travel;
mod waterfall;
