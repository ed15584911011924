//! Real SDKs send to a livespan that takes OTLP. What arrives is compared, whole, with what the in-memory exporter of
//! the same SDK holds. `scripts/install-sdks` installs the SDKs.

mod everything;
mod expected;
mod open;
mod polyglot;
mod receiver;
mod sdk;
