//! A bound on the uploads at once, over all pushes, in which the largest blob comes
//! first: a queue in order of arrival would begin the big layer of the last image
//! when all others are done, and everybody would wait for that one.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{Arc, Mutex},
};

use tokio::sync::oneshot;

use super::client::lock;

/// Slots for uploads.
pub(super) struct Slots(Arc<Mutex<State>>);

struct State {
    free: usize,
    waiting: BinaryHeap<Waiter>,
    /// Waiters so far.
    asked: u64,
}

impl Slots {
    pub(super) fn new(at_once: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: at_once,
            waiting: BinaryHeap::new(),
            asked: 0,
        })))
    }

    /// A slot for a blob of so many bytes. When there is none, the next one goes to
    /// the largest blob that waits, whoever pushes it.
    pub(super) async fn take(&self, size: u64) -> Slot {
        let granted = {
            let mut state = lock(&self.0);
            if state.free > 0 {
                state.free -= 1;
                return self.slot();
            }
            let (grant, granted) = oneshot::channel();
            let rank = (size, Reverse(state.asked));
            state.asked += 1;
            state.waiting.push(Waiter { rank, grant });
            granted
        };
        match granted.await {
            Ok(slot) => slot,
            // Who grants is in the queue until it does, and the queue is here.
            Err(_) => std::future::pending().await,
        }
    }

    fn slot(&self) -> Slot {
        Slot(Some(self.0.clone()))
    }
}

/// The right to upload, until it is dropped; then the next one has it. A grant that
/// nobody takes any more is dropped, too.
pub(super) struct Slot(Option<Arc<Mutex<State>>>);

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(slots) = self.0.take() else {
            return;
        };
        let mut state = lock(&slots);
        while let Some(next) = state.waiting.pop() {
            match next.grant.send(Slot(Some(slots.clone()))) {
                Ok(()) => return,
                // It was stopped meanwhile. What came back is this very slot.
                Err(mut refused) => refused.0 = None,
            }
        }
        state.free += 1;
    }
}

/// Somebody who waits.
struct Waiter {
    /// Larger ones first, and older ones of the same size.
    rank: (u64, Reverse<u64>),
    grant: oneshot::Sender<Slot>,
}

impl Ord for Waiter {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

impl PartialOrd for Waiter {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiter {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl Eq for Waiter {}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};

    use super::*;

    /// Blobs of several pushes wait for one slot: the largest is next, and of two
    /// that are as large the one that asked first.
    #[tokio::test]
    async fn the_largest_is_next() {
        let slots = Slots::new(1);
        let held = slots.take(1).await;
        let mut waiting: FuturesUnordered<_> = [(5, "a"), (900, "b"), (70, "c"), (900, "d")]
            .into_iter()
            .map(|(size, name)| {
                let slots = &slots;
                async move { (slots.take(size).await, name) }
            })
            .collect();
        assert!(waiting.next().now_or_never().is_none());
        drop(held);
        let mut order = Vec::new();
        while let Some((slot, name)) = waiting.next().await {
            order.push(name);
            drop(slot);
        }
        assert_eq!(order, ["b", "d", "c", "a"]);
    }

    /// Who is stopped while it waits, or just when it is granted a slot, takes none
    /// along.
    #[tokio::test]
    async fn slots_do_not_get_lost() {
        let slots = Slots::new(2);
        let (one, two) = (slots.take(1).await, slots.take(1).await);
        let mut waiting = Box::pin(slots.take(9));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(waiting);
        let mut granted = Box::pin(slots.take(8));
        assert!(granted.as_mut().now_or_never().is_none());
        drop(one);
        drop(granted);
        drop(two);
        let all = [slots.take(1).now_or_never(), slots.take(1).now_or_never()];
        assert!(all.iter().all(Option::is_some), "two are free again");
        assert!(slots.take(1).now_or_never().is_none(), "and no third one");
    }
}
