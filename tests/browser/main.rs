//! Tests of the dashboard in a real Chromium, against real servers.
//!
//! They need the Debian packages `chromium` and `chromium-driver`, and axe-core from npm.

mod accessibility;
mod accessibility_tree;
mod app;
mod attacks;
mod chromium;
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
