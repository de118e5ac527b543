//! The codings themselves, both ways, with chunks of every size, hostile input and a source that waits.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame};
use tidegate_message::Coding;

use super::{DecodeBounds, DecodedTooLarge, Encoders, decode, encode};
use crate::any::BoxError;
use crate::memory::{MemoryUsedUp, Payer};

/// But for the ratio.
fn unbounded() -> DecodeBounds {
    DecodeBounds { limit: u64::MAX, payer: Payer::rich() }
}

/// Fields in the form `name: value`.
fn fields(lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").expect("a field");
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        headers.append(name, HeaderValue::from_str(value).expect("a value"));
    }
    headers
}

const ALL: [Coding; 3] = [Coding::Zstd, Coding::Brotli, Coding::Gzip];

/// A body of these steps, and then its end, unless it is held open.
#[derive(Default)]
struct Source {
    steps: Rc<RefCell<VecDeque<Step>>>,
    open: Rc<Cell<bool>>,
}

enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    Fail,
}

/// The feeding end of a [`Source`].
struct Feed {
    steps: Rc<RefCell<VecDeque<Step>>>,
    open: Rc<Cell<bool>>,
}

impl Feed {
    fn new() -> (Self, Source) {
        let source = Source { open: Rc::new(Cell::new(true)), ..Source::default() };
        (Self { steps: source.steps.clone(), open: source.open.clone() }, source)
    }

    fn send(&self, data: &[u8]) {
        self.steps.borrow_mut().push_back(Step::Data(Bytes::copy_from_slice(data)));
    }

    fn end(self) {
        self.open.set(false);
    }
}

impl Body for Source {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(match self.steps.borrow_mut().pop_front() {
            Some(Step::Data(data)) => Some(Ok(Frame::data(data))),
            Some(Step::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Some(Step::Fail) => Some(Err("the source failed".into())),
            None if self.open.get() => return Poll::Pending,
            None => None,
        })
    }
}

fn of(steps: impl IntoIterator<Item = Step>) -> Source {
    Source { steps: Rc::new(RefCell::new(steps.into_iter().collect())), ..Source::default() }
}

fn source(data: &[u8], chunk: usize) -> Source {
    of(data.chunks(chunk).map(|chunk| Step::Data(Bytes::copy_from_slice(chunk))))
}

/// Takes what there is: data until the body waits or ends, and its trailers.
fn take(body: &mut Pin<Box<impl Body<Data = Bytes, Error = BoxError>>>) -> Result<Taken, BoxError> {
    let mut taken = Taken::default();
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        match body.as_mut().poll_frame(&mut cx) {
            Poll::Pending => {
                taken.waits += 1;
                return Ok(taken);
            }
            Poll::Ready(None) => {
                assert!(body.is_end_stream());
                taken.ended = true;
                return Ok(taken);
            }
            Poll::Ready(Some(frame)) => match frame?.into_data() {
                Ok(data) => {
                    assert!(!data.is_empty() && data.len() <= 16 << 10);
                    taken.data.extend_from_slice(&data);
                }
                Err(frame) => taken.trailers = frame.into_trailers().ok(),
            },
        }
    }
}

#[derive(Default)]
struct Taken {
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
    ended: bool,
    waits: usize,
}

/// All of a body.
fn whole(body: impl Body<Data = Bytes, Error = BoxError>) -> Result<Taken, BoxError> {
    let mut body = Box::pin(body);
    let mut all = Taken::default();
    while !all.ended {
        let taken = take(&mut body)?;
        all.data.extend(taken.data);
        all.waits += taken.waits;
        all.trailers = taken.trailers.or(all.trailers);
        all.ended = taken.ended;
    }
    Ok(all)
}

fn encoder(
    coding: Coding,
    level: u8,
    body: impl Body<Data = Bytes, Error = BoxError> + 'static,
) -> impl Body<Data = Bytes, Error = BoxError> {
    encoder_of(&Rc::default(), coding, level, body)
}

fn encoder_of<B>(
    encoders: &Rc<Encoders>,
    coding: Coding,
    level: u8,
    body: B,
) -> impl Body<Data = Bytes, Error = BoxError> + use<B>
where
    B: Body<Data = Bytes, Error = BoxError> + 'static,
{
    encode(body, coding, level, encoders.permit(usize::MAX).expect("there is room"))
}

fn encoded(coding: Coding, data: &[u8]) -> Vec<u8> {
    whole(encoder(coding, 3, source(data, 10_000))).expect("a source that does not fail").data
}

fn codings(names: &str) -> Vec<Coding> {
    Coding::of(&fields(&[&format!("content-encoding: {names}")])).expect("known codings")
}

fn decoded(names: &str, data: &[u8], chunk: usize) -> Result<Vec<u8>, BoxError> {
    Ok(whole(decode(source(data, chunk), codings(names), unbounded()))?.data)
}

/// Text that compresses about as well as text does.
fn text(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut text = Vec::new();
    while text.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.extend_from_slice(
            format!("{{\"id\":{},\"of\":\"user {}\"}}\n", state >> 40, state >> 56).as_bytes(),
        );
    }
    text.truncate(length);
    text
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(next).collect()
}

#[test]
fn what_is_compressed_can_be_decompressed_whatever_the_pieces() {
    for coding in ALL {
        for data in [vec![], vec![7], text(1000), text(300_000), noise(200_000), vec![0; 1_000_000]] {
            for chunk in [1, 7, 4096, 1 << 20] {
                if data.len() / chunk > 300_000 {
                    continue;
                }
                let coded = whole(encoder(coding, 4, source(&data, chunk))).expect("no failure").data;
                let back = decoded(coding.name(), &coded, chunk).expect("a whole body");
                assert!(back == data, "{coding:?}, {} bytes by {chunk}", data.len());
            }
        }
    }
}

#[test]
fn every_level_of_the_configuration_works() {
    let data = text(200_000);
    for (coding, most) in [(Coding::Zstd, 9), (Coding::Brotli, 6), (Coding::Gzip, 9)] {
        for level in 1..=most {
            let coded = whole(encoder(coding, level, source(&data, 30_000))).expect("no failure").data;
            assert!(coded.len() < data.len() / 3, "{coding:?} {level}: {}", coded.len());
            assert!(decoded(coding.name(), &coded, 999).expect("a whole body") == data, "{coding:?} {level}");
        }
    }
}

#[test]
fn a_body_of_known_length_is_compressed_as_well() {
    let data = text(3000);
    for coding in ALL {
        let body = crate::any::Body::full(data.clone());
        let coded = whole(encoder(coding, 3, body)).expect("no failure").data;
        assert_eq!(decoded(coding.name(), &coded, 100).expect("a whole body"), data);
    }
}

#[test]
fn what_was_taken_in_comes_out_while_the_source_waits() {
    for coding in ALL {
        let (feed, source) = Feed::new();
        let mut body = Box::pin(encoder(coding, 3, source));
        let (feed_back, coded) = Feed::new();
        let mut back = Box::pin(decode(coded, codings(coding.name()), unbounded()));
        for chunk in ["one", "two", "three"] {
            feed.send(chunk.as_bytes());
            let taken = take(&mut body).expect("no failure");
            assert!(!taken.ended);
            feed_back.send(&taken.data);
            assert_eq!(take(&mut back).expect("no failure").data, chunk.as_bytes(), "{coding:?}");
        }
        feed.end();
        feed_back.send(&take(&mut body).expect("no failure").data);
        feed_back.end();
        let rest = take(&mut back).expect("no failure");
        assert!(rest.ended && rest.data.is_empty());
    }
}

#[test]
fn a_source_that_waits_with_nothing_new_adds_nothing() {
    for coding in ALL {
        let (feed, source) = Feed::new();
        let mut body = Box::pin(encoder(coding, 3, source));
        assert_eq!(take(&mut body).expect("no failure").data, b"");
        feed.send(b"something");
        assert!(!take(&mut body).expect("no failure").data.is_empty());
        assert_eq!(take(&mut body).expect("no failure").data, b"");
    }
}

#[test]
fn trailers_pass_but_for_digests() {
    for coding in ALL {
        let trailers = fields(&["grpc-status: 0", "content-digest: sha-256=:a:"]);
        let steps = [Step::Data(text(100).into()), Step::Trailers(trailers)];
        let all = whole(decode(encoder(coding, 3, of(steps)), codings(coding.name()), unbounded()));
        let all = all.expect("no failure");
        assert_eq!((all.data, all.trailers), (text(100), Some(fields(&["grpc-status: 0"]))));
    }
}

#[test]
fn a_source_that_fails_breaks_the_coded_body_off() {
    for coding in ALL {
        let steps = [Step::Data(text(100_000).into()), Step::Fail];
        let mut body = Box::pin(encoder(coding, 3, of(steps)));
        let error = loop {
            match take(&mut body) {
                Ok(taken) => assert!(!taken.ended),
                Err(error) => break error,
            }
        };
        assert_eq!(error.to_string(), "the source failed");
    }
}

#[test]
fn a_large_body_gives_other_tasks_their_turn() {
    for coding in ALL {
        let data = text(2 << 20);
        let all = whole(encoder(coding, 1, source(&data, 2 << 20))).expect("no failure");
        assert!(all.waits >= 20, "{coding:?}: {} waits", all.waits);
    }
}

#[test]
fn contexts_are_kept_and_their_number_is_bounded() {
    let encoders = Rc::<Encoders>::default();
    let (feeds, mut bodies): (Vec<_>, Vec<_>) = (0..6)
        .map(|_| {
            let (feed, source) = Feed::new();
            (feed, Box::pin(encoder_of(&encoders, Coding::Zstd, 9, source)))
        })
        .unzip();
    for (feed, body) in feeds.iter().zip(&mut bodies) {
        feed.send(&text(5000));
        assert!(!take(body).expect("no failure").data.is_empty());
    }
    assert_eq!((encoders.in_flight.get(), encoders.idle.borrow().len()), (6, 0));
    // A body that is complete has given its codec up, one that is dropped in its middle as well.
    for feed in feeds.into_iter().skip(4) {
        feed.end();
    }
    for body in &mut bodies {
        let _ = take(body).expect("no failure");
    }
    assert_eq!((encoders.in_flight.get(), encoders.idle.borrow().len()), (4, 2));
    drop(bodies);
    assert_eq!((encoders.in_flight.get(), encoders.idle.borrow().len()), (0, 4));
    let body = encoder_of(&encoders, Coding::Zstd, 3, source(&text(5000), 100));
    let coded = whole(body).expect("no failure").data;
    assert_eq!(decoded("zstd", &coded, 100).expect("a whole body"), text(5000));
}

#[test]
fn a_bomb_comes_out_in_chunks_as_it_is_asked_for_until_it_is_too_large() {
    let zeros = vec![0; 64 << 20];
    for coding in ALL {
        let bomb = encoded(coding, &zeros);
        assert!(bomb.len() < zeros.len() / 500, "{coding:?}: {}", bomb.len());
        let mut body = Box::pin(decode(source(&bomb, bomb.len()), codings(coding.name()), unbounded()));
        // `take` asserts the size of chunks; between two turns there are few.
        let taken = take(&mut body).expect("no failure");
        assert!(!taken.ended && taken.data.len() <= 128 << 10, "{coding:?}: {}", taken.data.len());
        let error = whole(body).err().expect("too much comes of it");
        assert_eq!(error.downcast_ref(), Some(&DecodedTooLarge::Ratio), "{coding:?}");
    }
}

#[test]
fn what_comes_of_a_body_is_bounded() {
    let data = text(300_000);
    for (names, coded) in [
        ("gzip", encoded(Coding::Gzip, &data)),
        ("gzip, br", encoded(Coding::Brotli, &encoded(Coding::Gzip, &data))),
    ] {
        let bounded = |limit| {
            whole(decode(source(&coded, 100), codings(names), DecodeBounds { limit, payer: Payer::rich() }))
        };
        assert_eq!(bounded(300_000).expect("as much as may be").data.len(), 300_000, "{names}");
        let error = bounded(299_999).err().expect("a byte more");
        assert_eq!(error.downcast_ref(), Some(&DecodedTooLarge::Limit), "{names}");
    }
}

#[test]
fn windows_are_on_the_account_of_the_client() {
    let data = text(300_000);
    for coding in ALL {
        // A tenth of it is enough for the window of gzip, and for no other.
        let payer = Payer::with(1 << 20);
        let coded = encoded(coding, &data);
        let bounds = DecodeBounds { payer: payer.clone(), ..unbounded() };
        let all = whole(decode(source(&coded, 100), codings(coding.name()), bounds));
        match coding {
            Coding::Gzip | Coding::Deflate => assert_eq!(all.expect("enough memory").data.len(), data.len()),
            Coding::Zstd | Coding::Brotli => {
                let error = all.err().expect("too little memory");
                assert!(error.is::<MemoryUsedUp>(), "{coding:?}: {error}");
            }
        }
        assert_eq!(payer.held(), 0, "{coding:?}");
    }
}

#[test]
fn input_that_ends_too_early_is_an_error() {
    for coding in ALL {
        let coded = encoded(coding, &text(2000));
        for length in 1..coded.len() {
            assert!(decoded(coding.name(), &coded[..length], 64).is_err(), "{coding:?}, {length} bytes");
        }
    }
}

#[test]
fn corrupt_input_is_an_error_or_other_bytes_and_never_more() {
    let data = text(600);
    for coding in ALL {
        let coded = encoded(coding, &data);
        for at in 0..coded.len() {
            for bit in 0..8 {
                let mut corrupt = coded.clone();
                corrupt[at] ^= 1 << bit;
                let result = decoded(coding.name(), &corrupt, 1 << 20);
                // gzip has a checksum, which only bits that mean nothing do not change.
                let same = result.is_err() || result.is_ok_and(|other| other == data);
                assert!(coding != Coding::Gzip || same, "{at} {bit}");
            }
        }
        let noise = noise(1000);
        for start in 0..noise.len() {
            let _ = decoded(coding.name(), &noise[start..], 100);
        }
    }
}

#[test]
fn what_others_compressed_is_understood() {
    let fox = b"the quick brown fox jumps over the lazy dog, the quick brown fox";
    // By zlib 1.3, the brotli of Google and the zstd command.
    let deflated =
        "2bc94855282ccd4cce56482aca2fcf5348cbaf50c82acd2d2856c82f4b2d5228014ae72456552aa4e4a7eb8079688a01";
    let cases = [
        ("gzip", format!("1f8b0800000000000203{deflated}1dc4b4b440000000")),
        ("X-GZIP", format!("1f8b0800000000000203{deflated}1dc4b4b440000000")),
        ("deflate", format!("789c{deflated}fe641779")),
        // Without the head of zlib, as some send it.
        ("deflate", deflated.to_owned()),
        (
            "br",
            "1b3f00008c946ee662844a873a59aab7fe3542d108c837b430d880038704f2175aaf67cbec123b3b265b94b03c6c94adfe30293f00"
                .to_owned(),
        ),
        (
            "zstd",
            "28b52ffd0458b50100c40274686520717569636b2062726f776e20666f78206a756d7073206f76657220746865206c617a7920646f672c0200503560b4b30ce6d3afff"
                .to_owned(),
        ),
    ];
    for (name, hex) in cases {
        let coded: Vec<u8> = hex
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex"))
            .collect();
        for chunk in [1, 5, 1000] {
            assert_eq!(decoded(name, &coded, chunk).expect("a whole body"), fox, "{name}");
        }
        let after = [&coded[..], b"?"].concat();
        assert!(decoded(name, &after, 1000).is_err(), "{name} with something behind its end");
    }
}

#[test]
fn several_members_are_one_body() {
    for name in ["gzip", "zstd"] {
        let coding = if name == "gzip" { Coding::Gzip } else { Coding::Zstd };
        let coded = [encoded(coding, b"one, "), encoded(coding, b""), encoded(coding, b"two")].concat();
        for chunk in [1, 3, 1000] {
            assert_eq!(decoded(name, &coded, chunk).expect("a whole body"), b"one, two");
        }
    }
}

#[test]
fn several_codings_are_undone_in_reverse_order() {
    let coded = encoded(Coding::Brotli, &encoded(Coding::Gzip, &text(5000)));
    assert_eq!(decoded("gzip, br", &coded, 100).expect("a whole body"), text(5000));
    assert!(decoded("br, gzip", &coded, 100).is_err());
}

#[test]
fn nothing_comes_of_nothing() {
    assert_eq!(decoded("gzip", b"", 1).expect("nothing of nothing"), b"");
}

#[test]
fn a_window_of_zstd_beyond_8_mib_is_refused() {
    // A frame's head: no single segment, a window of 2^(10 + 13) or 2^(10 + 14) bytes; a last, empty block.
    let frame = |exponent: u8| [0x28, 0xb5, 0x2f, 0xfd, 0x00, exponent << 3, 0x01, 0x00, 0x00];
    assert_eq!(decoded("zstd", &frame(13), 100).expect("a whole body"), b"");
    assert!(decoded("zstd", &frame(14), 100).is_err());
}
