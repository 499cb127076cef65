use super::*;
use pushbench_protocol::framing::{Epoch, Lost, Start};
use std::sync::atomic::AtomicUsize;
use std::task::Wake;
use std::task::{Context, Poll};

const QUIET: Duration = Duration::from_secs(15);

#[derive(Default)]
struct Counting(AtomicUsize);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn start(limits: RingLimits) -> (Arc<Hub>, Arc<ShardStats>) {
    let hub = Hub::new(1, Some(Epoch::NONE)).expect("descriptors");
    hub.declare(&["a", "b"]).expect("good names");
    let stats = Arc::new(ShardStats::default());
    enter(hub.clone(), 0, &[Framing::Line], limits, stats.clone());
    (hub, stats)
}

fn poll(subscription: &mut Subscription) -> Poll<Ready> {
    subscription.poll_ready(&mut Context::from_waker(Waker::noop()))
}

fn open(since: Option<u64>) -> Result<Subscription, SubscribeError> {
    Subscription::open("a", since, Framing::Line, QUIET)
}

fn publish(hub: &Hub, payload: &str) {
    hub.append(0, Some(0), payload.as_bytes()).expect("room");
    drain();
}

#[test]
fn a_subscriber_starts_at_the_tail_and_gets_all_that_is_pending_at_once() {
    let (hub, stats) = start(RingLimits::default());
    publish(&hub, "before");
    let mut subscription = open(None).expect("a channel");
    assert_eq!(subscription.cursor(), 1.into());
    assert_eq!(poll(&mut subscription), Poll::Pending);
    publish(&hub, "x");
    publish(&hub, "y");
    assert_eq!(poll(&mut subscription), Poll::Ready(Ready::Pending));
    let bytes = subscription.take(MAX_WRITE_BYTES).expect("pending");
    let lines: Vec<&[u8]> = bytes.split(|&b| b == b'\n').collect();
    assert!(lines[0].ends_with(b":x") && lines[1].ends_with(b":y") && lines.len() == 3);
    assert_eq!(subscription.cursor(), 3.into());
    assert_eq!(poll(&mut subscription), Poll::Pending);
    assert_eq!(stats.deliveries.load(Ordering::Relaxed), 2);
}

#[test]
fn a_cursor_resumes_where_it_was_and_one_beyond_the_tail_is_a_loss_of_unknown_extent() {
    let (hub, stats) = start(RingLimits::default());
    hub.append(0, None, b"one").expect("room");
    hub.append(0, None, b"two").expect("room");
    // Nothing was drained yet: a resume must not be refused for it.
    let mut subscription = open(Some(1)).expect("a cursor in the log");
    assert!(
        subscription
            .take(MAX_WRITE_BYTES)
            .expect("pending")
            .ends_with(b":two\n")
    );
    let mut beyond = open(Some(3)).expect("a channel");
    assert_eq!(beyond.cursor(), 0.into(), "before the oldest remembered");
    let lost = Ready::Lagged(Lost::Unknown);
    assert_eq!(poll(&mut beyond), Poll::Ready(lost));
    assert_eq!(stats.lagged.load(Ordering::Relaxed), 1);
    assert_eq!(stats.lost_messages.load(Ordering::Relaxed), 0);
    assert_eq!(poll(&mut beyond), Poll::Ready(Ready::Pending));
    assert!(Subscription::open("c", Start::Tail, Framing::Line, QUIET).is_err());
}

#[test]
fn a_subscriber_that_falls_off_the_ring_is_told_what_it_lost_and_counted() {
    let (hub, stats) = start(RingLimits {
        messages: 2,
        bytes: 1 << 20,
    });
    let mut subscription = open(None).expect("a channel");
    for payload in ["1", "2", "3", "4", "5"] {
        publish(&hub, payload);
    }
    assert_eq!(
        poll(&mut subscription),
        Poll::Ready(Ready::Lagged(Lost::Range { from: 1, to: 3 }))
    );
    assert_eq!(stats.lagged.load(Ordering::Relaxed), 1);
    assert_eq!(stats.lost_messages.load(Ordering::Relaxed), 3);
    assert_eq!(poll(&mut subscription), Poll::Ready(Ready::Pending));
    // Its farewell may take a while; it has lagged once all the same.
    for payload in ["6", "7", "8"] {
        publish(&hub, payload);
    }
    drop(subscription);
    assert_eq!(stats.lagged.load(Ordering::Relaxed), 1);
    assert_eq!(stats.lost_messages.load(Ordering::Relaxed), 3);
}

#[test]
fn a_task_is_woken_once_however_many_messages_come_and_others_are_not() {
    let (hub, _) = start(RingLimits::default());
    let (here, there) = (Arc::new(Counting::default()), Arc::new(Counting::default()));
    let mut a = open(None).expect("a channel");
    let mut b = Subscription::open("b", Start::Tail, Framing::Line, QUIET).expect("a channel");
    let waker = Waker::from(here.clone());
    assert!(a.poll_ready(&mut Context::from_waker(&waker)).is_pending());
    let waker = Waker::from(there.clone());
    assert!(b.poll_ready(&mut Context::from_waker(&waker)).is_pending());
    for _ in 0..3 {
        publish(&hub, "x");
    }
    assert_eq!(here.0.load(Ordering::SeqCst), 1);
    assert_eq!(there.0.load(Ordering::SeqCst), 0);
}

#[test]
fn silence_is_reported_once_a_period_and_put_off_by_deliveries() {
    let (hub, stats) = start(RingLimits::default());
    let mut subscription =
        Subscription::open("a", Start::Tail, Framing::Line, Duration::from_secs(1))
            .expect("channel");
    let ticks = |n: usize| (0..n).for_each(|_| with(Shard::tick));
    ticks(9);
    assert_eq!(poll(&mut subscription), Poll::Pending);
    publish(&hub, "x");
    subscription.take(MAX_WRITE_BYTES).expect("pending");
    ticks(9);
    assert_eq!(poll(&mut subscription), Poll::Pending);
    ticks(1);
    assert_eq!(poll(&mut subscription), Poll::Ready(Ready::Quiet));
    assert_eq!(poll(&mut subscription), Poll::Pending);
    ticks(10);
    assert_eq!(poll(&mut subscription), Poll::Ready(Ready::Quiet));
    assert_eq!(stats.keep_alives.load(Ordering::Relaxed), 2);
}

#[test]
fn subscribers_come_and_go_in_any_order_and_leave_nothing_behind() {
    let (hub, stats) = start(RingLimits::default());
    let mut all: Vec<Subscription> = (0..50).map(|_| open(None).expect("channel")).collect();
    let mut random = pushbench_protocol::payload::SplitMix64::new(1);
    for _ in 0..200 {
        let index = random.below(all.len() as u64) as usize;
        drop(all.swap_remove(index));
        all.push(open(None).expect("channel"));
    }
    publish(&hub, "x");
    for subscription in &mut all {
        assert_eq!(poll(subscription), Poll::Ready(Ready::Pending));
    }
    with(|s| assert!(s.subscribers.end() <= 51 && s.channels[0].subscribers.len() == 50));
    for _ in 0..200 {
        with(Shard::tick);
    }
    all.clear();
    assert_eq!(stats.subscribers.load(Ordering::Relaxed), 0);
    for _ in 0..2000 {
        with(Shard::tick);
    }
}

#[test]
fn what_a_full_socket_left_is_handed_back_and_the_cursor_moves_on() {
    let (hub, _) = start(RingLimits::default());
    let mut subscription = open(Some(0)).expect("a channel");
    publish(&hub, "abc");
    let rest = subscription
        .write(MAX_WRITE_BYTES, |head, tail| {
            assert_eq!(head.len() + tail.len(), 51 + 3 + 1);
            Ok::<usize, ()>(53)
        })
        .expect("no error");
    assert_eq!(rest, Written::Short((*b"c\n").into()));
    assert_eq!(poll(&mut subscription), Poll::Pending);
}

#[test]
fn subscribers_leave_one_after_the_other_each_behind_what_is_pending() {
    let (hub, stats) = start(RingLimits::default());
    let mut all: Vec<Subscription> = (0..10).map(|_| open(None).expect("channel")).collect();
    let closing = |all: &mut Vec<Subscription>| {
        let ready = all.iter_mut().map(poll);
        ready.filter(|r| *r == Poll::Ready(Ready::Closing)).count()
    };
    assert!(!is_draining());
    begin_to_leave();
    assert!(is_draining());
    assert_eq!(open(None).expect_err("draining"), SubscribeError::Closing);
    for (share, informed) in [(0.0, 0), (0.09, 0), (0.5, 5), (0.3, 5), (1.0, 10)] {
        leave(share);
        publish(&hub, "x");
        assert_eq!(closing(&mut all), 0, "something is pending");
        for subscription in &mut all {
            subscription.take(MAX_WRITE_BYTES).expect("pending");
        }
        assert_eq!(closing(&mut all), informed, "{share}");
    }
    assert_eq!(stats.closed_politely.load(Ordering::Relaxed), 10);
}

#[test]
fn a_full_socket_is_left_the_rest_of_one_message_and_the_cursor_stays_before_the_next() {
    let (hub, stats) = start(RingLimits::default());
    let mut subscription = open(Some(0)).expect("a channel");
    for payload in ["a", "b", "c"] {
        publish(&hub, payload);
    }
    // A line has 53 bytes here.
    for (taken, rest, cursor) in [(0, 0, 0), (53, 0, 1), (1, 52, 2), (52, 1, 3)] {
        let written = subscription
            .write(MAX_WRITE_BYTES, |_, _| Ok::<usize, ()>(taken))
            .expect("no error");
        let length = match (&written, cursor) {
            (Written::Short(rest), _) => rest.len(),
            (Written::All, _) => panic!("taken as a whole at {cursor}"),
        };
        assert_eq!((length, subscription.cursor()), (rest, cursor.into()));
        assert_eq!(stats.deliveries.load(Ordering::Relaxed), cursor);
    }
}

#[test]
fn a_start_before_the_tail_is_at_most_at_the_oldest_message() {
    let (hub, _) = start(RingLimits {
        messages: 3,
        bytes: 1 << 20,
    });
    let cursor = |start| {
        let opened = Subscription::open("a", start, Framing::Line, QUIET);
        opened.expect("a channel").cursor()
    };
    assert_eq!(cursor(Start::Last(5)), 0.into());
    for _ in 0..5 {
        // Nothing was drained yet.
        hub.append(0, None, b"x").expect("room");
    }
    for (count, expected) in [
        (2, 3),
        (0, 5),
        (3, 2),
        (4, 2),
        (1_000_000, 2),
        (u64::MAX, 2),
    ] {
        assert_eq!(cursor(Start::Last(count)), expected.into(), "last={count}");
    }
}

#[test]
fn closing_wakes_every_subscriber_and_takes_no_new_one() {
    let (_hub, _) = start(RingLimits::default());
    let mut subscription = open(None).expect("a channel");
    with(Shard::close);
    assert_eq!(poll(&mut subscription), Poll::Ready(Ready::Closing));
    assert_eq!(open(None).expect_err("closing"), SubscribeError::Closing);
}
