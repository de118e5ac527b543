//! Hashes as password files have them, and what becomes of checks that are given up.

use std::future::poll_fn;
use std::task::Poll;

use super::*;

const PASSWORD: &[u8] = b"correct horse";
/// Cheap, and of [`PASSWORD`]: by libxcrypt.
const CHEAP: &str = "$2y$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e";

/// Made by `htpasswd` of Apache 2.4, `argon2` of the reference implementation, libxcrypt, and OpenSSL's scrypt.
const MADE: [&str; 15] = [
    CHEAP,
    "$2y$05$viB23jPkm9ARzV4UaKOV7.pNt7A4Z58h2LQyEtysxDT.DtqqR8q2C",
    "$2b$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2",
    "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHRzYWx0$NLDcRTdXCyHUmV3bbugmFXxIUa68+ybTsNllGeHxedg",
    "$argon2id$v=19$m=64,t=3,p=4$c29tZXNhbHRzYWx0$a2bt08OpPWMVHXtyXAMi/LdQ+7T+C71/kwrx5qrKGBw",
    "$argon2i$v=19$m=64,t=2,p=1$c29tZXNhbHRzYWx0$fSU9tVDPBzQThzmTfpZcjRNpcoCxNjmfKmBuyovvdXc",
    "$argon2i$v=16$m=32,t=1,p=2$c29tZXNhbHRzYWx0$kXMCxZpy+CX9Zo1Y5rzKMQIZcEm8sIh+",
    "$argon2i$m=32,t=1,p=2$c29tZXNhbHRzYWx0$kXMCxZpy+CX9Zo1Y5rzKMQIZcEm8sIh+",
    "$scrypt$ln=4,r=8,p=1$TmFDbE5hQ2xOYUNs$4luj3upMar6u31aeX8CS9dcw4AgB+GJbW4lPVqa0gao",
    "$scrypt$ln=10,r=8,p=2$TmFDbE5hQ2xOYUNs$TiiLi9toesm3+XFM37XIZAxLkS4dAfKriWT4aw0dM6s",
    "$5$4HJhVPupYOomEg83$2TbRgevsoKdBTJX5Zi7GdxJCXZPpXnSUuujki1gWKY9",
    "$5$saltstring$vc6YOOogU4kWVvwga8e9zTFgKcy4tb5LaPxIiPJzqEC",
    "$6$Y3TMfdOVTFKc.y2r$gtflbzIeWr87LPEs5xhZlKFC6ldk8YWWEeU6qtGinE4VSJQReJXavKLY/coFFaOi1lWyGIhGGSYuMPDhmyZ1E/",
    "$6$rounds=1000$abcdefgh$DbXqPck5ABZumVXwcH5eMVHsPZwvQ3jylSxpJmKkZVxcoCiC3N0rPerjHmAqL7r6PK6CIeYnO9.vxpbsevscg/",
    "$2y$04$OYCh6fe6KEVlt2QBXClaIuEp6N01tefgxO1kX9PhkvcIuLxWbX8ou",
];

/// One of each format.
const CHEAPEST: [&str; 4] = [MADE[0], MADE[3], MADE[8], MADE[13]];

/// Published: by the author of crypt_blowfish, in the README of argon2, by passlib, by the author of SHA-crypt.
const PUBLISHED: [(&str, &str); 7] = [
    ("U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
    ("", "$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s."),
    ("password", "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA"),
    ("password", "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E"),
    ("Hello world!", "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"),
    ("Hello world!", "$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA"),
    (
        "Hello world!",
        "$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v.",
    ),
];

fn matches(hash: &str, password: &[u8]) -> Result<bool, PasswordError> {
    Stored::read(hash)?.matches(password)
}

async fn answer(verification: Verification) -> Result<bool, PasswordError> {
    match verification {
        Verification::Now(answer) => answer,
        Verification::Later(answer) => answer.await,
    }
}

#[test]
fn hashes_of_every_format_are_read() {
    for hash in MADE {
        assert_eq!(matches(hash, PASSWORD), Ok(true), "{hash}");
        for wrong in [&b"correct hors"[..], b"correct horse ", b"Correct horse", b""] {
            assert_eq!(matches(hash, wrong), Ok(false), "{hash}");
        }
    }
    for (password, hash) in PUBLISHED {
        assert_eq!(matches(hash, password.as_bytes()), Ok(true), "{hash}");
        assert_eq!(matches(hash, b"another"), Ok(false), "{hash}");
    }
}

#[test]
fn bcrypt_counts_72_bytes_of_a_password() {
    let hash = "$2y$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i";
    for (length, right) in [(71, false), (72, true), (73, true), (200, true)] {
        assert_eq!(matches(hash, "x".repeat(length).as_bytes()), Ok(right), "{length}");
    }
}

/// bcrypt repeats its key with a zero at the end, scrypt fills its up with zeros: to them these would be one.
#[test]
fn a_password_with_a_zero_byte_is_not_the_one_without() {
    for hash in MADE {
        assert_eq!(matches(hash, b"correct horse\0correct horse"), Ok(false));
        assert_eq!(matches(hash, b"correct horse\0"), Ok(false));
    }
}

#[test]
fn weak_and_unknown_formats_are_refused_by_name() {
    for (hash, name) in [
        ("$apr1$eeS6t97i$UT45qTy2NEkM0eqkD2SGj0", "one of MD5"),
        ("$1$eeS6t97i$UT45qTy2NEkM0eqkD2SGj0", "one of MD5"),
        ("{SHA}L55TUjtiq8FBorTWAZ0jy6g129A=", "one of SHA-1"),
        ("AH26GCyb938iQ", "plain text or DES crypt"),
        ("secret", "plain text or DES crypt"),
        ("", "plain text or DES crypt"),
        ("*", "plain text or DES crypt"),
        ("!", "plain text or DES crypt"),
        ("$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7", "yescrypt"),
        ("$2x$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "bcrypt by a faulty writer"),
        (
            "$argon2d$v=19$m=64,t=2,p=1$c29tZXNhbHRzYWx0$O0WvOQHpmbFZYJqV7wKjwCoetW84lgeh+sPZem2np74",
            "argon2d",
        ),
        ("$sha1$1$a$b", "of a format that is not known"),
        ("$", "of a format that is not known"),
    ] {
        let error = matches(hash, PASSWORD).unwrap_err().to_string();
        assert!(error.starts_with(&format!("the password's hash is {name}")), "{hash}: {error}");
        assert!(error.ends_with("make it anew with bcrypt, for example: `htpasswd -B`"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn costly_hashes_are_refused_before_they_cost() {
    let hash = "c29tZXNhbHRzYWx0$NLDcRTdXCyHUmV3bbugmFXxIUa68+ybTsNllGeHxedg";
    for (hash, what, most) in [
        ("$2b$15$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2".to_owned(), "cost", 14),
        ("$2b$31$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2".to_owned(), "cost", 14),
        (format!("$argon2id$v=19$m=262145,t=1,p=1${hash}"), "memory (KiB)", 262_144),
        (format!("$argon2id$v=19$m=4294967295,t=1,p=1${hash}"), "memory (KiB)", 262_144),
        (format!("$argon2id$v=19$m=64,t=11,p=1${hash}"), "number of passes", 10),
        (format!("$scrypt$ln=19,r=8,p=1${hash}"), "memory (KiB)", 262_144),
        (format!("$scrypt$ln=63,r=4294967295,p=4294967295${hash}"), "memory (KiB)", 262_144),
        (format!("$scrypt$ln=18,r=8,p=5${hash}"), "memory times `p` (KiB)", 1 << 20),
        (format!("$scrypt$ln=1,r=1,p=4294967295${hash}"), "`p`", 1024),
        (format!("$5$rounds=1000001$saltstring${}", "a".repeat(43)), "number of rounds", 1_000_000),
        (format!("$6$rounds=4294967295$saltstring${}", "a".repeat(86)), "number of rounds", 1_000_000),
    ] {
        match Stored::read(&hash).map(|_| hash.as_str()) {
            Err(PasswordError::TooCostly { what: found, most: bound, .. }) => {
                assert_eq!((found, bound), (what, most), "{hash}");
            }
            other => panic!("{hash}: {other:?}"),
        }
    }
    for (hash, password) in [
        ("$2b$14$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2".to_owned(), "the bound itself"),
        (format!("$argon2id$v=19$m=262144,t=10,p=1${hash}"), "the bound itself"),
        (format!("$scrypt$ln=18,r=8,p=4${hash}"), "the bound itself"),
        (format!("$6$rounds=1000000$saltstring${}", "a".repeat(86)), "the bound itself"),
    ] {
        assert!(Stored::read(&hash).is_ok(), "{hash}: {password}");
    }
}

#[test]
fn malformed_hashes_are_refused() {
    let hash = "c29tZXNhbHRzYWx0$NLDcRTdXCyHUmV3bbugmFXxIUa68+ybTsNllGeHxedg";
    for hash in [
        "$2y$".to_owned(),
        "$2y$05".to_owned(),
        "$2y$05$".to_owned(),
        "$2y$03$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e".to_owned(),
        "$2y$+5$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e".to_owned(),
        "$2y$5$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e".to_owned(),
        "$2y$004$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e".to_owned(),
        format!("{CHEAP}a"),
        format!("{CHEAP} "),
        "$2y$04$ábcdefghijklmnopqrstujydOTSfIH/d5oUHpsygqV5X9xJLQc6e".to_owned(),
        format!("$argon2id$v=19$m=64,t=2${hash}"),
        format!("$argon2id$v=19$m=64,t=2,p=1,data=AAAA${hash}"),
        format!("$argon2id$v=19$m=64,t=2,p=0${hash}"),
        format!("$argon2id$v=19$m=64,t=0,p=1${hash}"),
        format!("$argon2id$v=19$m=64,t=2,p=9${hash}"),
        format!("$argon2id$v=18$m=64,t=2,p=1${hash}"),
        "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHRzYWx0".to_owned(),
        "$argon2id$v=19$m=64,t=2,p=1".to_owned(),
        format!("$scrypt$v=1$ln=4,r=8,p=1${hash}"),
        format!("$scrypt$ln=4,r=8,p=0${hash}"),
        format!("$scrypt$ln=4,r=0,p=1${hash}"),
        format!("$scrypt$ln=64,r=8,p=1${hash}"),
        format!("$scrypt$ln=4,r=8${hash}"),
        "$5$saltstring".to_owned(),
        "$5$saltstring$".to_owned(),
        "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc".to_owned(),
        "$6$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5".to_owned(),
        "$5$rounds=999$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5".to_owned(),
        "$5$rounds=99999999999$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5".to_owned(),
        "$5$rounds=$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5".to_owned(),
        "$5$$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5".to_owned(),
    ] {
        let found = Stored::read(&hash).map(|_| ());
        assert!(matches!(found, Err(PasswordError::UnknownFormat(_))), "{hash}: {found:?}");
    }
}

/// Every hash cut off anywhere, and with any bit of it changed, is a hash of something else, or an error.
#[test]
fn damaged_hashes_never_panic() {
    for hash in MADE.into_iter().chain(PUBLISHED.map(|(_, hash)| hash)) {
        for end in 0..hash.len() {
            let read = Stored::read(&hash[..end]);
            let any_length = hash.starts_with("$argon2") || hash.starts_with("$scrypt$");
            assert!(read.is_err() || any_length, "{}", &hash[..end]);
        }
        for bit in 0..hash.len() * 8 {
            let mut damaged = hash.as_bytes().to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let read = Stored::read(&String::from_utf8_lossy(&damaged));
            // A change of the parameters could take its time.
            if let Ok(stored) = read
                && bit / 8 > hash.rfind('$').expect("fields")
                && CHEAPEST.contains(&hash)
            {
                assert!(!stored.matches(b"wrong").unwrap_or(false), "{hash}, bit {bit}");
            }
        }
    }
}

#[test]
fn a_dummy_costs_the_same_and_matches_nothing() {
    for hash in MADE {
        let dummy = Passwords::dummy_like(hash);
        assert_eq!(dummy.len(), hash.len());
        assert_eq!(matches(&dummy, PASSWORD), Ok(false), "{dummy}");
        assert_eq!(dummy.matches('$').count(), hash.matches('$').count());
        let parameters = |hash: &str| hash[..hash.rfind('$').expect("fields")].to_owned();
        assert_eq!(parameters(&dummy), parameters(hash));
    }
    for refused in ["", "secret", "$apr1$eeS6t97i$UT45qTy2NEkM0eqkD2SGj0"] {
        assert!(Passwords::dummy_like(refused).starts_with("$2b$10$"));
        assert!(Stored::read(&Passwords::dummy_like(refused)).is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_right_password_is_remembered_for_five_minutes() {
    let passwords = Passwords::new(1, 1);
    let verify = |password: &'static [u8]| passwords.verify(CHEAP, password);
    assert_eq!(answer(verify(PASSWORD)).await, Ok(true));
    assert!(matches!(verify(PASSWORD), Verification::Now(Ok(true))));
    assert!(matches!(passwords.clone().verify(CHEAP, PASSWORD), Verification::Now(Ok(true))));
    assert!(matches!(verify(b"correct hors"), Verification::Later(_)));
    let other = "$2b$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2";
    assert!(matches!(passwords.verify(other, PASSWORD), Verification::Later(_)), "for another hash");
    tokio::time::advance(REMEMBERED - Duration::from_secs(1)).await;
    assert!(matches!(verify(PASSWORD), Verification::Now(Ok(true))));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(matches!(verify(PASSWORD), Verification::Later(_)));
    assert_eq!(answer(verify(PASSWORD)).await, Ok(true));
    assert!(matches!(verify(PASSWORD), Verification::Now(Ok(true))), "and again");
}

#[tokio::test]
async fn a_wrong_password_is_checked_each_time() {
    let passwords = Passwords::new(1, 0);
    for _ in 0..3 {
        let verification = passwords.verify(CHEAP, b"wrong");
        assert!(matches!(verification, Verification::Later(_)));
        assert_eq!(answer(verification).await, Ok(false));
    }
}

#[tokio::test]
async fn what_needs_no_check_is_answered_at_once() {
    let passwords = Passwords::new(1, 0);
    let _waits = passwords.verify(CHEAP, PASSWORD);
    let now = |hash, password: &[u8]| match passwords.verify(hash, password) {
        Verification::Now(answer) => answer,
        Verification::Later(_) => panic!("a check"),
    };
    assert!(matches!(now("secret", b"secret"), Err(PasswordError::UnknownFormat(_))));
    assert_eq!(now(CHEAP, &[b'x'; 513]), Ok(false));
    assert_eq!(now(CHEAP, &[b'x'; 512]), Err(PasswordError::Busy));
}

#[tokio::test]
async fn more_than_may_wait_are_refused() {
    let passwords = Passwords::new(2, 1);
    let verify = || passwords.verify(CHEAP, PASSWORD);
    let mut waiting: Vec<_> = (0..3).map(|_| verify()).collect();
    assert!(waiting.iter().all(|verification| matches!(verification, Verification::Later(_))));
    assert!(matches!(verify(), Verification::Now(Err(PasswordError::Busy))));
    drop(waiting.pop());
    let last = verify();
    assert!(matches!(last, Verification::Later(_)), "the place of the one that was given up");
    assert!(matches!(verify(), Verification::Now(Err(PasswordError::Busy))));
    for verification in waiting.into_iter().chain([last]) {
        assert_eq!(answer(verification).await, Ok(true));
    }
    assert_eq!(passwords.0.places.available_permits(), 3);
    assert_eq!(passwords.0.turns.available_permits(), 2);
}

/// The only turn is taken, so the check cannot begin; nothing is left of it when it is given up.
#[tokio::test]
async fn a_check_that_is_given_up_before_it_began_is_not_made() {
    let passwords = Passwords::new(1, 1);
    let turn = passwords.0.turns.clone().acquire_owned().await.expect("a turn");
    let Verification::Later(mut given_up) = passwords.verify(CHEAP, PASSWORD) else { panic!("not now") };
    poll_fn(|context| {
        assert!(given_up.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
    drop(given_up);
    drop(turn);
    // Whatever waited has had its turn before this.
    assert_eq!(answer(passwords.verify(CHEAP, b"wrong")).await, Ok(false));
    assert!(matches!(passwords.verify(CHEAP, PASSWORD), Verification::Later(_)), "it is not remembered");
    assert_eq!(passwords.0.places.available_permits(), 2);
}

/// The runtime has one blocking thread, and that is busy: the check has its turn and stands in the runtime's queue.
#[test]
fn a_check_that_is_given_up_in_the_queue_of_the_runtime_is_not_made() {
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build();
    runtime.expect("a runtime").block_on(async {
        let passwords = Passwords::new(2, 0);
        let (release, released) = std::sync::mpsc::channel::<()>();
        let busy = spawn_blocking(move || released.recv());
        let Verification::Later(mut given_up) = passwords.verify(CHEAP, PASSWORD) else { panic!("not now") };
        poll_fn(|context| {
            assert!(given_up.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        drop(given_up);
        release.send(()).expect("the thread waits");
        busy.await.expect("no panic").expect("a message");
        assert_eq!(answer(passwords.verify(CHEAP, b"wrong")).await, Ok(false));
        assert!(matches!(passwords.verify(CHEAP, PASSWORD), Verification::Later(_)), "it is not remembered");
        assert_eq!(passwords.0.places.available_permits(), 2);
    });
}

/// What the bounds allow at most. `cargo test -p tidegate-crypto --profile quick -- --ignored --nocapture`
#[test]
#[ignore = "a measurement: prints, proves nothing"]
fn costs() {
    let phc = "c29tZXNhbHRzYWx0$NLDcRTdXCyHUmV3bbugmFXxIUa68+ybTsNllGeHxedg";
    let bcrypt = |cost| format!("$2b${cost}$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2");
    let sha_crypt = format!("$6$rounds=1000000$saltstring${}", ".".repeat(86));
    for (what, hash, password) in [
        ("bcrypt, 5", bcrypt("05"), PASSWORD),
        ("bcrypt, 10", bcrypt("10"), PASSWORD),
        ("bcrypt, 14", bcrypt("14"), PASSWORD),
        ("argon2id, 19 MiB, 2 passes", format!("$argon2id$v=19$m=19456,t=2,p=1${phc}"), PASSWORD),
        ("argon2id, 256 MiB, 10 passes", format!("$argon2id$v=19$m=262144,t=10,p=1${phc}"), PASSWORD),
        ("scrypt, 128 MiB", format!("$scrypt$ln=17,r=8,p=1${phc}"), PASSWORD),
        ("scrypt, 256 MiB, p = 4", format!("$scrypt$ln=18,r=8,p=4${phc}"), PASSWORD),
        ("SHA-512, 1,000,000 rounds", sha_crypt.clone(), PASSWORD),
        ("the same, 512 bytes", sha_crypt, &[b'x'; 512]),
    ] {
        let begin = std::time::Instant::now();
        matches(&hash, password).expect("a hash");
        println!("{what:30} {:9.1} ms", begin.elapsed().as_secs_f64() * 1e3);
    }
}
