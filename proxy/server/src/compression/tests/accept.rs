//! Which coding a client gets.

use tidegate_config::Coding::{self, Br, Gzip, Zstd};

use super::super::accept::choose;
use super::fields;

const OFFERED: [Coding; 3] = [Zstd, Br, Gzip];

#[test]
fn a_client_gets_what_it_likes_best() {
    let cases: [(&[&str], Option<Coding>); 32] = [
        (&[], None),
        (&[""], None),
        (&["gzip"], Some(Gzip)),
        (&["GZip"], Some(Gzip)),
        (&["x-gzip"], Some(Gzip)),
        (&["gzip, deflate, br, zstd"], Some(Zstd)),
        (&["gzip, deflate, br"], Some(Br)),
        (&["deflate"], None),
        (&["compress, snappy"], None),
        (&["gzip;q=1.0, br;q=0.9"], Some(Gzip)),
        (&["gzip;q=0.5, br;q=0.501"], Some(Br)),
        (&["gzip ; q=0.8 , br\t;\tq=0.9"], Some(Br)),
        (&["br;Q=0.9, gzip;q=0.1"], Some(Br)),
        // Several lines are one list.
        (&["gzip;q=0.5", "br;q=0.7"], Some(Br)),
        (&["*"], Some(Zstd)),
        (&["*;q=0.1"], Some(Zstd)),
        (&["gzip;q=0.5, *;q=0.1"], Some(Gzip)),
        (&["zstd;q=0, *"], Some(Br)),
        (&["*;q=0"], None),
        (&["*;q=0, gzip"], Some(Gzip)),
        (&["identity"], None),
        (&["identity;q=0, gzip"], Some(Gzip)),
        (&["identity, gzip;q=0.5"], None),
        (&["identity;q=0.5, gzip;q=0.5"], Some(Gzip)),
        (&["gzip;q=0"], None),
        (&["gzip;q=0.000, br;q=0.001"], Some(Br)),
        // What cannot be read is left out.
        (&["gzip;q=2, br;q=0.1"], Some(Br)),
        (&["gzip;q=1.001, br;q=0.1"], Some(Br)),
        (&["gzip;q=0.1234, br;q=."], None),
        (&["gzip;level=9, br;q=-1, zstd;q=1e3"], None),
        (&[",,;q=1,=,gzip,;;,"], Some(Gzip)),
        (&["gzip;q=0.2, gzip;q=0.8, br;q=0.5"], Some(Gzip)),
    ];
    for (lines, expected) in cases {
        let lines: Vec<_> = lines.iter().map(|line| format!("accept-encoding: {line}")).collect();
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        assert_eq!(choose(&fields(&lines), &OFFERED), expected, "{lines:?}");
    }
}

#[test]
fn only_what_is_offered_is_chosen_and_its_order_decides() {
    let browser = fields(&["accept-encoding: gzip, deflate, br, zstd"]);
    assert_eq!(choose(&browser, &[Gzip]), Some(Gzip));
    assert_eq!(choose(&browser, &[Br, Zstd, Gzip]), Some(Br));
    assert_eq!(choose(&fields(&["accept-encoding: zstd"]), &[Gzip]), None);
}
