//! The dashboard in a real Chromium, against real servers, as a person sees it.
//!
//! It needs the Debian packages `chromium` and `chromium-driver`. Without them it fails with a
//! message.

mod accessibility;
mod accessibility_tree;
mod app;
mod attacks;
mod cut;
mod dashboard;
mod driver;
mod finding;
mod flame;
mod inside;
mod keyboard;
mod list_rows;
mod original_client;
mod paint;
mod product_page;
mod streams;
mod trace_file;
mod travel;
mod waterfall;
