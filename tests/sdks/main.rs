//! Real SDKs send to a livespan that receives OTLP. The received events are compared, as a whole,
//! with the contents of the same SDK's in-memory exporter. `scripts/install-sdks` installs the
//! SDKs.

mod everything;
mod expected;
mod open;
mod polyglot;
mod receiver;
mod sdk;
