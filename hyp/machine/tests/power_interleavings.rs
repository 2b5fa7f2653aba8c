// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every interleaving, and every value that a weakly ordered CPU may read, of CPUs that turn a vCPU on and off:
//! `cargo test -p bulkhead-machine --features loom --test power_interleavings`.

#![cfg(feature = "loom")]

use bulkhead_machine::psci::{Entry, ErrorCode, Power, PowerState};
use bulkhead_types::Ipa;
use loom::sync::Arc;
use loom::thread;

fn entry(caller: u64) -> Entry {
    Entry { address: Ipa(caller), context: caller }
}

/// Two CPUs turn a third on: one succeeds, and the third finds that one's entry, whole.
#[test]
fn one_of_two_turns_it_on() {
    loom::model(|| {
        let power = Arc::new(Power::default());
        let callers = [1, 2].map(|caller| {
            let power = power.clone();
            thread::spawn(move || power.try_turn_on(entry(caller)).map(|()| caller))
        });
        // The vCPU's own CPU looks whenever it is woken, too early among others.
        let early = power.take_entry();
        let results = callers.map(|caller| caller.join().expect("no panic"));
        let taken = early.or_else(|| power.take_entry()).expect("somebody turned it on");
        let winner = results.iter().find_map(|result| result.ok()).expect("one succeeds");
        assert_eq!(taken, entry(winner));
        let loser = results.iter().filter_map(|result| result.err()).collect::<Vec<_>>();
        assert!(matches!(loser[..], [ErrorCode::AlreadyOn | ErrorCode::OnPending]), "{results:?}");
        assert_eq!((power.state(), power.take_entry()), (PowerState::On, None));
    });
}

/// A CPU that goes off while another turns it on again: the new entry is written behind the old one's reading.
#[test]
fn off_and_on_again() {
    loom::model(|| {
        let power = Arc::new(Power::default());
        power.try_turn_on(entry(1)).expect("it is off");
        let other = power.clone();
        let caller = thread::spawn(move || other.try_turn_on(entry(2)).is_ok());
        assert_eq!(power.take_entry(), Some(entry(1)));
        power.turn_off();
        let again = caller.join().expect("no panic");
        assert_eq!(power.take_entry(), again.then(|| entry(2)));
    });
}
