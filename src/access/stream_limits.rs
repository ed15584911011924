//! How many streams are open over HTTP, in all and for each address: a bound that no client can push.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex},
};

use crate::{access::DEFAULT_SUBSCRIBERS_PER_ADDRESS, util::sync::lock};

#[derive(Debug)]
pub(crate) struct StreamLimits {
    max: usize,
    /// `None`: the default, but not on the loopback, where a proxy may stand for many.
    per_address: Option<usize>,
    in_use: Mutex<InUse>,
}

#[derive(Debug, Default)]
struct InUse {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// The place of one stream, until it is dropped.
#[derive(Debug)]
pub(crate) struct StreamPermit {
    limits: Arc<StreamLimits>,
    address: Option<IpAddr>,
}

impl StreamLimits {
    pub(crate) fn new(max: usize, per_address: Option<usize>) -> Self {
        Self {
            max,
            per_address,
            in_use: Mutex::default(),
        }
    }

    /// A place for a stream to this address, if there is one.
    pub(crate) fn acquire(self: &Arc<Self>, address: Option<IpAddr>) -> Option<StreamPermit> {
        let mut in_use = lock(&self.in_use);
        if in_use.total >= self.max {
            return None;
        }
        // A client has one IPv4 address, but as many IPv6 addresses as it likes within its network.
        let address = address.map(network);
        if let Some(address) = address {
            let count = in_use.by_address.entry(address).or_default();
            if *count >= self.max_of(address) {
                return None;
            }
            *count += 1;
        }
        in_use.total += 1;
        Some(StreamPermit {
            limits: Arc::clone(self),
            address,
        })
    }

    fn max_of(&self, address: IpAddr) -> usize {
        match self.per_address {
            Some(max) => max,
            None if address.is_loopback() => usize::MAX,
            None => DEFAULT_SUBSCRIBERS_PER_ADDRESS,
        }
    }
}

/// The address that counts as one client: an IPv6 address by the 64 bits that name its network (RFC 4291, section 2.5.4).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => {
            let bits = u128::from(v6) & !u128::from(u64::MAX);
            IpAddr::V6(bits.into())
        }
        other => other,
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let mut in_use = lock(&self.limits.in_use);
        in_use.total -= 1;
        if let Some(address) = self.address
            && let Some(count) = in_use.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                in_use.by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn a_seat_is_free_again_when_its_stream_is_gone() {
        let limits = Arc::new(StreamLimits::new(2, None));
        let one = limits.acquire(None).unwrap();
        let _two = limits.acquire(Some(at("192.0.2.1"))).unwrap();
        assert!(limits.acquire(None).is_none());
        drop(one);
        let _three = limits.acquire(None).unwrap();
        assert!(limits.acquire(None).is_none());
    }

    #[test]
    fn no_address_takes_the_seats_of_others() {
        let limits = Arc::new(StreamLimits::new(100, Some(1)));
        let held = limits.acquire(Some(at("2001:db8::1"))).unwrap();
        assert!(
            limits.acquire(Some(at("2001:db8::2"))).is_none(),
            "it is the same network"
        );
        let _other = limits.acquire(Some(at("2001:db8:0:1::1"))).unwrap();
        let _local = limits.acquire(Some(at("127.0.0.1"))).unwrap();
        assert!(limits.acquire(Some(at("::ffff:127.0.0.1"))).is_none());
        drop(held);
        assert_eq!(lock(&limits.in_use).by_address.len(), 2);
        let _again = limits.acquire(Some(at("2001:db8::2"))).unwrap();
    }

    #[test]
    fn by_default_a_proxy_on_this_machine_stands_for_many() {
        let limits = Arc::new(StreamLimits::new(usize::MAX, None));
        let many = DEFAULT_SUBSCRIBERS_PER_ADDRESS + 1;
        let mut held: Vec<_> = (0..many)
            .map(|_| limits.acquire(Some(at("127.0.0.1"))))
            .collect();
        assert!(held.iter().all(Option::is_some));
        held = (0..many)
            .map(|_| limits.acquire(Some(at("192.0.2.1"))))
            .collect();
        assert_eq!(held.iter().filter(|permit| permit.is_none()).count(), 1);
    }
}
