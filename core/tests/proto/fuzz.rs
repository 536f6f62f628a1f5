//! Random bytes: whatever a server sends, nothing panics and memory follows what came.

use heys_core::proto::{Event, Extended, Param, Startup, Target, Wire};
use heys_core::rows::{self, Batch, CellKind};

use crate::allocator;
use crate::messages::*;
use crate::replay::startup;
use crate::xorshift::Xorshift;

/// Runs of `npm test`; HEYS_FUZZ_RUNS asks for more.
const RUNS: usize = 20_000;

const KINDS: [CellKind; 4] = [CellKind::Text, CellKind::Int, CellKind::Bool, CellKind::Bytes];

/// A plausible server's next message.
fn plausible(random: &mut Xorshift) -> Vec<u8> {
    let cells: [Option<&[u8]>; 6] = [
        None,
        Some(b""),
        Some(b"17"),
        Some(b"t"),
        Some(b"-2147483648"),
        Some(b"\xd0\xff"),
    ];
    match random.below(24) {
        0 => authentication(random.pick(&[0, 2, 3, 5, 7, 10, 11, 12, 13]), b"salt"),
        1 => authentication(10, &strings(&["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", ""])),
        2 => authentication(11, b"r=abc,s=c2FsdA==,i=4"),
        3 => hello(),
        4 => error("22012", "no"),
        5 => message(b'N', &fields(&[(b'M', "hi")])),
        6 => message(b'A', b"\0\0\0\x01a\0b\0"),
        7 => message(random.pick(b"123nsIc"), b""),
        8 => message(random.pick(b"GH"), b"\0\0\x01\0\0"),
        9 => message(b'd', b"1\t2\n"),
        10..=12 => columns(&[("a", 23), ("b", 25)][..random.below(3)]),
        13..=18 => {
            let n = random.below(3);
            row(&(0..n).map(|_| random.pick(&cells)).collect::<Vec<_>>())
        }
        19 | 20 => complete("SELECT 1"),
        _ => ready(random.pick(b"ITE")),
    }
}

/// Breaks a few bytes, or none.
fn mutate(random: &mut Xorshift, bytes: &mut Vec<u8>) {
    for _ in 0..random.pick(&[0, 0, 0, 1, 1, 2, 5]) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.next() as u8),
            2 if !bytes.is_empty() => drop(bytes.remove(at)),
            3 if bytes.len() > at + 4 => {
                let word = random.pick(&[0, 3, 4, 5, 255, 65_536, 0x0100_0000, 0x4000_0003, 0x7fff_ffff, u32::MAX]);
                bytes[at..at + 4].copy_from_slice(&word.to_be_bytes());
            }
            4 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            _ if !bytes.is_empty() => bytes[at] = random.next() as u8,
            _ => {}
        }
    }
}

fn request(random: &mut Xorshift, wire: &mut Wire) {
    // Refusals (not yet open, closed) are part of the game.
    let _ = match random.below(5) {
        0 | 1 => wire.query("SELECT 1"),
        2 | 3 => wire.extended(&Extended {
            name: "s",
            sql: Some("SELECT $1"),
            params: &[Param::Text(b"1"), Param::Null],
            results: if random.one_in(2) { &[1] } else { &[] },
            portal: "",
            max_rows: 0,
        }),
        _ => wire.close(Target::Statement, "s"),
    };
    if random.one_in(50) {
        wire.terminate();
    }
}

/// One session with a server made of `random`; the bytes it was fed.
fn run(random: &mut Xorshift) -> usize {
    let startup = Startup {
        scram_max_iterations: 10,
        ..startup()
    };
    let mut wire = Wire::new(&startup, None).unwrap();
    let (mut batch, mut bytes) = (Batch::default(), Vec::new());
    if !random.one_in(4) {
        bytes.extend(hello());
    }
    let mut fed = 0;
    for _ in 0..random.below(30) {
        bytes.extend(plausible(random));
        mutate(random, &mut bytes);
        while !bytes.is_empty() {
            let spare = wire.spare();
            assert!(!spare.is_empty() && spare.len() <= 2 * fed + 128 * 1024);
            let n = (1 + random.below(40)).min(bytes.len()).min(spare.len());
            spare[..n].copy_from_slice(&bytes[..n]);
            wire.filled(n).unwrap();
            bytes.drain(..n);
            fed += n;
            loop {
                match wire.poll_event(&mut batch) {
                    Ok(None) => break,
                    Ok(Some(Event::PasswordRequested(_))) => wire.password(b"secret").unwrap(),
                    Ok(Some(Event::RowDescription(body))) => {
                        let fields = rows::fields(&body).unwrap();
                        let kinds: Vec<_> = fields.iter().map(|_| random.pick(&KINDS)).collect();
                        batch.start(&kinds);
                    }
                    Ok(Some(_)) => {
                        batch.packed();
                        batch.clear();
                    }
                    Err(_) => {
                        assert!(wire.poll_event(&mut batch).is_err());
                        assert!(wire.query("SELECT 1").is_err());
                        return fed;
                    }
                }
            }
            let n = random.below(wire.output().len() + 1);
            wire.sent(n);
        }
        request(random, &mut wire);
    }
    fed
}

#[test]
fn no_bytes_of_a_server_panic_or_reserve_what_they_promise() {
    let mut random = Xorshift::from_env("fuzz");
    let runs = std::env::var("HEYS_FUZZ_RUNS").ok().and_then(|runs| runs.parse().ok());
    for _ in 0..runs.unwrap_or(RUNS) {
        let (fed, peak) = allocator::peak(|| run(&mut random));
        assert!(peak <= 256 * 1024 + 20 * fed, "{peak} bytes were reserved for {fed}");
    }
}

#[test]
fn no_description_panics_or_reserves_what_it_promises() {
    let mut random = Xorshift::from_env("descriptions");
    for _ in 0..RUNS {
        let mut body = columns(&[("a", 23), ("name", 25)])[5..].to_vec();
        mutate(&mut random, &mut body);
        let (_, peak) = allocator::peak(|| rows::fields(&body).is_ok());
        assert!(
            peak <= 4096 + 20 * body.len(),
            "{peak} bytes were reserved for {body:?}"
        );
    }
}
