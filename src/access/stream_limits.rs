//! Limits how many streams are open over HTTP, in all and for each address. The tasks of all connections share it. It
//! must never scan the map while it holds an entry: that would deadlock.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use dashmap::{DashMap, Entry};

use crate::access::{DEFAULT_SUBSCRIBERS_PER_ADDRESS, config::AccessConfig};

#[derive(Debug)]
pub(crate) struct StreamLimits {
    max: usize,
    /// `None` means that the default applies, except to loopback addresses: a proxy on this machine may connect for
    /// many clients.
    per_address: Option<usize>,
    /// The number of open streams.
    total: AtomicUsize,
    /// The number of streams that were ever opened.
    opened: AtomicUsize,
    /// The number of open streams of each address that has any.
    by_address: DashMap<IpAddr, usize>,
}

/// The permit of one stream. Dropping it releases the stream's place.
#[derive(Debug)]
pub(crate) struct StreamPermit {
    limits: Arc<StreamLimits>,
    address: Option<IpAddr>,
}

impl StreamLimits {
    pub(crate) fn of(config: &AccessConfig) -> Self {
        Self::new(config.subscribers_max, config.subscribers_per_address)
    }

    pub(crate) fn new(max: usize, per_address: Option<usize>) -> Self {
        Self {
            max,
            per_address,
            total: AtomicUsize::new(0),
            opened: AtomicUsize::new(0),
            by_address: DashMap::new(),
        }
    }

    /// Returns a permit for a stream to this address, or `None` if a limit is reached.
    pub(crate) fn acquire(self: &Arc<Self>, address: Option<IpAddr>) -> Option<StreamPermit> {
        // A client has one IPv4 address, but can use any number of IPv6 addresses within its network.
        let address = address.map(network);
        match address {
            Some(address) => self.reserve_for(address)?,
            None => self.reserve()?,
        }
        self.opened.fetch_add(1, Ordering::Relaxed);
        Some(StreamPermit {
            limits: Arc::clone(self),
            address,
        })
    }

    /// Returns the number of open streams.
    #[cfg(feature = "tracing")]
    pub(crate) fn open_streams(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Returns the number of streams that were ever opened.
    #[cfg(feature = "tracing")]
    pub(crate) fn opened_streams(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }

    /// Counts a stream to this address, unless the address or the total has reached its limit. The map entry stays
    /// locked meanwhile, so that a client over its own limit never takes from the total, even briefly.
    fn reserve_for(&self, address: IpAddr) -> Option<()> {
        let entry = self.by_address.entry(address);
        let count = match &entry {
            Entry::Occupied(occupied) => *occupied.get(),
            Entry::Vacant(_) => 0,
        };
        if count >= self.max_of(address) {
            return None;
        }
        self.reserve()?;
        entry.insert(count + 1);
        Some(())
    }

    fn reserve(&self) -> Option<()> {
        // Relaxed: the count guards no other memory.
        self.total
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |total| {
                (total < self.max).then_some(total + 1)
            })
            .ok()
            .map(drop)
    }

    fn max_of(&self, address: IpAddr) -> usize {
        match self.per_address {
            Some(max) => max,
            None if address.is_loopback() => usize::MAX,
            None => DEFAULT_SUBSCRIBERS_PER_ADDRESS,
        }
    }
}

/// Returns the address that counts as one client: an IPv6 address is reduced to the 64 bits of its network (RFC 4291,
/// section 2.5.4).
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
        if let Some(address) = self.address
            && let Entry::Occupied(mut entry) = self.limits.by_address.entry(address)
        {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
        self.limits.total.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn a_permit_is_free_again_when_its_stream_is_gone() {
        let limits = Arc::new(StreamLimits::new(2, None));
        let one = limits.acquire(None).unwrap();
        let _two = limits.acquire(Some(at("192.0.2.1"))).unwrap();
        assert!(limits.acquire(None).is_none());
        drop(one);
        let _three = limits.acquire(None).unwrap();
        assert!(limits.acquire(None).is_none());
    }

    #[test]
    fn no_address_takes_the_permits_of_others() {
        let limits = Arc::new(StreamLimits::new(100, Some(1)));
        let held = limits.acquire(Some(at("2001:db8::1"))).unwrap();
        assert!(
            limits.acquire(Some(at("2001:db8::2"))).is_none(),
            "a second address of the network got a stream"
        );
        let _other = limits.acquire(Some(at("2001:db8:0:1::1"))).unwrap();
        let _local = limits.acquire(Some(at("127.0.0.1"))).unwrap();
        assert!(limits.acquire(Some(at("::ffff:127.0.0.1"))).is_none());
        drop(held);
        assert_eq!(limits.by_address.len(), 2);
        let _again = limits.acquire(Some(at("2001:db8::2"))).unwrap();
    }

    #[test]
    fn the_default_limit_does_not_apply_to_loopback_addresses() {
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
