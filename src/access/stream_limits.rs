//! How many streams are open over HTTP, in all and for each address: a bound that no client can push.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex},
};

use crate::{access::DEFAULT_SUBSCRIBERS_PER_ADDRESS, util::sync::lock};

#[derive(Debug)]
pub(crate) struct Seats {
    max: usize,
    /// `None`: the default, but not on the loopback, where a proxy may stand for many.
    per_address: Option<usize>,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// The place of one stream, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Arc<Seats>,
    address: Option<IpAddr>,
}

impl Seats {
    pub(crate) fn new(max: usize, per_address: Option<usize>) -> Self {
        Self {
            max,
            per_address,
            taken: Mutex::default(),
        }
    }

    /// A place for a stream to this address, if there is one.
    pub(crate) fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Seat> {
        let mut taken = lock(&self.taken);
        if taken.total >= self.max {
            return None;
        }
        // A client has one IPv4 address, but as many IPv6 addresses as it likes within its network.
        let address = address.map(network);
        if let Some(address) = address {
            let count = taken.by_address.entry(address).or_default();
            if *count >= self.max_of(address) {
                return None;
            }
            *count += 1;
        }
        taken.total += 1;
        Some(Seat {
            seats: Arc::clone(self),
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

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = lock(&self.seats.taken);
        taken.total -= 1;
        if let Some(address) = self.address
            && let Some(count) = taken.by_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                taken.by_address.remove(&address);
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
        let seats = Arc::new(Seats::new(2, None));
        let one = seats.take(None).unwrap();
        let _two = seats.take(Some(at("192.0.2.1"))).unwrap();
        assert!(seats.take(None).is_none());
        drop(one);
        let _three = seats.take(None).unwrap();
        assert!(seats.take(None).is_none());
    }

    #[test]
    fn no_address_takes_the_seats_of_others() {
        let seats = Arc::new(Seats::new(100, Some(1)));
        let held = seats.take(Some(at("2001:db8::1"))).unwrap();
        assert!(
            seats.take(Some(at("2001:db8::2"))).is_none(),
            "it is the same network"
        );
        let _other = seats.take(Some(at("2001:db8:0:1::1"))).unwrap();
        let _local = seats.take(Some(at("127.0.0.1"))).unwrap();
        assert!(seats.take(Some(at("::ffff:127.0.0.1"))).is_none());
        drop(held);
        assert_eq!(lock(&seats.taken).by_address.len(), 2);
        let _again = seats.take(Some(at("2001:db8::2"))).unwrap();
    }

    #[test]
    fn by_default_a_proxy_on_this_machine_stands_for_many() {
        let seats = Arc::new(Seats::new(usize::MAX, None));
        let many = DEFAULT_SUBSCRIBERS_PER_ADDRESS + 1;
        let mut held: Vec<_> = (0..many)
            .map(|_| seats.take(Some(at("127.0.0.1"))))
            .collect();
        assert!(held.iter().all(Option::is_some));
        held = (0..many)
            .map(|_| seats.take(Some(at("192.0.2.1"))))
            .collect();
        assert_eq!(held.iter().filter(|seat| seat.is_none()).count(), 1);
    }
}
