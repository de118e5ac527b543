//! W3C trace context: which trace a request belongs to, and whether it is to be recorded.
//!
//! <https://www.w3.org/TR/trace-context/>

/// What `traceparent` says, or what there is in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// Never 0.
    pub trace: u128,
    /// The span that is around what follows; never 0.
    pub span: u64,
    /// As they came: bits that are not known yet are passed on.
    pub flags: u8,
}

/// The request is recorded by whoever sent it.
const SAMPLED: u8 = 1;

impl TraceContext {
    /// Of a request that came without one; `None` for what cannot be an identifier.
    pub fn new(trace: u128, span: u64, is_sampled: bool) -> Option<Self> {
        (trace != 0 && span != 0).then_some(Self { trace, span, flags: u8::from(is_sampled) })
    }

    /// From the value of `traceparent`. A version that is not known is read as far as it is known (§3.2.4).
    pub fn parse(value: &str) -> Option<Self> {
        let (version, rest) = value.split_at_checked(2)?;
        let [trace, span, flags] = [rest.get(1..33)?, rest.get(34..50)?, rest.get(51..53)?];
        let dashes = [0, 33, 50].iter().all(|at| rest.as_bytes()[*at] == b'-');
        let is_lower_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !dashes || ![version, trace, span, flags].iter().all(|text| is_lower_hex(text)) || version == "ff"
        {
            return None;
        }
        let more = &rest[53..];
        if !(more.is_empty() || version != "00" && more.starts_with('-')) {
            return None;
        }
        let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)?;
        let span = u64::from_str_radix(span, 16).ok().filter(|span| *span != 0)?;
        Some(Self { trace, span, flags: u8::from_str_radix(flags, 16).ok()? })
    }

    /// Whether it is recorded.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The same trace around another span, recorded or not.
    pub fn with(&self, span: u64, is_sampled: bool) -> Self {
        let flags = if is_sampled { self.flags | SAMPLED } else { self.flags & !SAMPLED };
        Self { trace: self.trace, span, flags }
    }

    /// For `traceparent`.
    pub fn header(&self) -> String {
        let mut text = String::with_capacity(55);
        text.push_str("00-");
        hex(self.trace, 32, &mut text);
        text.push('-');
        hex(self.span.into(), 16, &mut text);
        text.push('-');
        hex(self.flags.into(), 2, &mut text);
        text
    }

    /// The trace alone, as logs have it.
    pub fn trace_id(&self) -> String {
        let mut text = String::with_capacity(32);
        hex(self.trace, 32, &mut text);
        text
    }

    /// Whether one of so many of a million traces is it: all who ask with the same share agree.
    pub fn is_chosen(&self, per_million: u32) -> bool {
        // The lower 56 bits are the random ones (level 2, §3.2.2.5).
        let random = self.trace as u64 & ((1 << 56) - 1);
        u128::from(random) * 1_000_000 < u128::from(per_million) << 56
    }
}

/// So many digits, without the machinery of formatting: every request has a header.
fn hex(value: u128, digits: u32, text: &mut String) {
    for at in (0..digits).rev() {
        text.push(char::from(b"0123456789abcdef"[(value >> (4 * at) & 15) as usize]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_far_as_it_is_known() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = TraceContext::parse(good).expect("the example of the specification");
        assert_eq!((context.header().as_str(), context.is_sampled()), (good, true));
        assert_eq!(context.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(
            context.with(1, false).header(),
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000001-00"
        );
        for (value, is_read) in [
            ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03-what", true),
            ("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03what", false),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", false),
            ("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
            ("00-00000000000000000000000000000000-b7ad6b7169203331-01", false),
            ("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", false),
            ("00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", false),
            ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331", false),
            ("00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false),
            ("00-0af7651916cd43dd8448eb211c80319é-b7ad6b716920333-01", false),
            ("", false),
            ("é", false),
        ] {
            assert_eq!(TraceContext::parse(value).is_some(), is_read, "{value}");
        }
    }

    #[test]
    fn a_share_of_traces_is_chosen_by_their_numbers() {
        let chosen = |per_million| {
            let context = |number: u64| {
                TraceContext::new(u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)), 1, false)
            };
            (1..10_000_u64).filter_map(context).filter(|context| context.is_chosen(per_million)).count()
        };
        assert_eq!((chosen(0), chosen(1_000_000)), (0, 9_999));
        assert!((900..1100).contains(&chosen(100_000)), "{}", chosen(100_000));
    }
}
