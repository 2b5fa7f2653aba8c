// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The console: a partition out of focus says anything, between the hypervisor's own lines.

use crate::Input;
use bulkhead_machine::console::{Channel, Console};
use bulkhead_types::PartitionId;

pub fn fuzz(data: &[u8]) {
    const SPEAKER: PartitionId = PartitionId(1);
    let mut input = Input(data);
    let mut channels = [Channel::new("silent"), Channel::new("speaker")];
    let mut console = Console::new(&mut channels);
    let (mut sent, mut own) = (Vec::new(), 0);
    let mut sink = |byte: u8| sent.push(byte);
    while !input.is_empty() {
        match input.u8() {
            0 => {
                let text = input.bytes::<8>();
                let text = String::from_utf8_lossy(&text).into_owned();
                own += 1 + text.matches('\n').count();
                console.line(format_args!("{text}"), &mut sink);
            }
            1 => {
                let mut from = Some(console.last(SPEAKER, usize::from(input.u8())));
                // What is said of the past may be the unfinished line as well.
                while let Some(at) = from {
                    from = console.past(SPEAKER, at, &mut sink);
                }
            }
            2 => console.flush(SPEAKER, &mut sink),
            _ => console.output(SPEAKER, input.u8(), &mut sink),
        }
    }
    console.flush(SPEAKER, &mut sink);

    assert!(
        !sent.iter().any(|byte| byte.is_ascii_control() && !b"\r\n\t".contains(byte)),
        "a control character"
    );
    let sent = String::from_utf8_lossy(&sent);
    let mut ours = 0;
    for line in sent.split_terminator("\r\n") {
        assert!(!line.contains(['\r', '\n']), "half a line break: {line:?}");
        match line.strip_prefix("[bulkhead] ") {
            Some(text) => ours += usize::from(!text.starts_with("  speaker| ")),
            None => assert!(line.starts_with("[speaker] "), "whose is it? {line:?}"),
        }
    }
    assert!(ours <= own, "{ours} lines of the hypervisor's, which said {own}");
}
