//! A log in Redis that many processes write and serve.

mod append;
mod beat;
mod desk;
mod fault;
mod link;
mod page;
mod pins;
mod pulse;
mod reply;
mod script;
mod settings;
mod store;
mod tend;
mod view;
mod wait;

pub use self::{
    settings::{
        DEFAULT_REDIS_CONNECT_TIMEOUT, DEFAULT_REDIS_DEAD_AFTER, DEFAULT_REDIS_HEARTBEAT,
        DEFAULT_REDIS_PREFIX, DEFAULT_REDIS_RESPONSE_TIMEOUT, RedisEventStoreBuilder,
    },
    store::RedisEventStore,
};
