//! Keys and signatures: of the RFCs, and some made with OpenSSL and Python's `cryptography` for this.

/// RFC 7515, appendix A: payload of A.1, A.2 and A.3.
const RFC_7515_PAYLOAD: &str = concat!(
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt",
    "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
);

/// RFC 7520, section 4: payload of all.
const RFC_7520_PAYLOAD: &str = concat!(
    "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250",
    "byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hl",
    "cmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4",
);

/// A JWS in its parts, and the key of its signer.
pub(super) struct Jws {
    pub(super) source: &'static str,
    pub(super) algorithm: &'static str,
    pub(super) key: &'static str,
    pub(super) header: &'static str,
    pub(super) payload: &'static str,
    pub(super) signature: &'static str,
}

pub(super) const RFCS: [Jws; 6] = [
    Jws {
        source: "RFC 7515 A.1",
        algorithm: "HS256",
        key: concat!(
            r#"{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcg"#,
            r#"UuTwjAzZr1Z9CAow"}"#,
        ),
        header: "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
        payload: RFC_7515_PAYLOAD,
        signature: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    },
    Jws {
        source: "RFC 7515 A.2",
        algorithm: "RS256",
        key: concat!(
            r#"{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4"#,
            "qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OM",
            "g0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3",
            "qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4F",
            r#"RWyuXpoQ","e":"AQAB"}"#,
        ),
        header: "eyJhbGciOiJSUzI1NiJ9",
        payload: RFC_7515_PAYLOAD,
        signature: concat!(
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W",
            "2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkS",
            "jtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnv",
            "Wh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        ),
    },
    Jws {
        source: "RFC 7515 A.3",
        algorithm: "ES256",
        key: concat!(
            r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu"#,
            r#"9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
        ),
        header: "eyJhbGciOiJFUzI1NiJ9",
        payload: RFC_7515_PAYLOAD,
        signature: "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    },
    Jws {
        source: "RFC 7520 4.2",
        algorithm: "PS384",
        key: concat!(
            r#"{"kty":"RSA","kid":"bilbo.baggins@hobbiton.example","use":"sig","n":"n4EPtAOCc9AlkeQHPzH"#,
            "StgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2",
            "wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M",
            "1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS",
            r#"2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw","e":"AQAB"}"#,
        ),
        header: "eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9",
        payload: RFC_7520_PAYLOAD,
        signature: concat!(
            "cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6",
            "O8TTB5dDDItllVo6_1OLPpcbUrhiUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqi",
            "VJRmBqrYRXe8P_ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_",
            "jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw",
        ),
    },
    Jws {
        source: "RFC 7520 4.4",
        algorithm: "HS256",
        key: concat!(
            r#"{"kty":"oct","kid":"018c0ae5-4d9b-471b-bfd6-eef314bc7037","use":"sig","alg":"HS256","k":"#,
            r#""hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg"}"#,
        ),
        header: "eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9",
        payload: RFC_7520_PAYLOAD,
        signature: "s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7p0",
    },
    Jws {
        source: "RFC 8037 A.4",
        algorithm: "EdDSA",
        key: r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        header: "eyJhbGciOiJFZERTQSJ9",
        payload: "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
        signature: "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    },
];

/// What is signed below.
pub(super) const MESSAGE: &[u8] = b"tidegate: signed by a key that nobody has any more";

/// 2048 bits.
pub(super) const RSA_PEM: &str = "\
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA1BQVEKvIbfGAVMj88wTN
ECmjDM44F4YNPZPH1PkrosXKCj2QyAtUtnijXn3xL4ZZskDfuzCIzD2TmPOrkD/c
KM1fLGUoiQV+uaQTZe7ZH29fLwG2YAh7B4c05P6/edF1JwCuhd0Li9gwsBtOIuOF
ZzIYptLOxynMSGAguNLc/bBL0JUwRPFS0mEMEftepmxmGey23xqx1ulVcZ9Tceai
sNNWFBkaDWDn7ODkXSBT3bnrgzdc4gOci3YNNZLe25wDjMszWtbpyVBuY1dfEse8
pFeLDuiEFN/fc3YAJrAfO22fmc13VRFbMpvEvcCESCg8i2/zC7WMkw+ZqRbYpoai
ZwIDAQAB
-----END PUBLIC KEY-----
";

/// The same key.
pub(super) const RSA_PKCS1_PEM: &str = "\
-----BEGIN RSA PUBLIC KEY-----
MIIBCgKCAQEA1BQVEKvIbfGAVMj88wTNECmjDM44F4YNPZPH1PkrosXKCj2QyAtU
tnijXn3xL4ZZskDfuzCIzD2TmPOrkD/cKM1fLGUoiQV+uaQTZe7ZH29fLwG2YAh7
B4c05P6/edF1JwCuhd0Li9gwsBtOIuOFZzIYptLOxynMSGAguNLc/bBL0JUwRPFS
0mEMEftepmxmGey23xqx1ulVcZ9TceaisNNWFBkaDWDn7ODkXSBT3bnrgzdc4gOc
i3YNNZLe25wDjMszWtbpyVBuY1dfEse8pFeLDuiEFN/fc3YAJrAfO22fmc13VRFb
MpvEvcCESCg8i2/zC7WMkw+ZqRbYpoaiZwIDAQAB
-----END RSA PUBLIC KEY-----
";

/// The same key.
pub(super) const RSA_JWK: &str = r#"{"kty":"RSA","e":"AQAB","n":"1BQVEKvIbfGAVMj88wTNECmjDM44F4YNPZPH1PkrosXKCj2QyAtUtnijXn3xL4ZZskDfuzCIzD2TmPOrkD_cKM1fLGUoiQV-uaQTZe7ZH29fLwG2YAh7B4c05P6_edF1JwCuhd0Li9gwsBtOIuOFZzIYptLOxynMSGAguNLc_bBL0JUwRPFS0mEMEftepmxmGey23xqx1ulVcZ9TceaisNNWFBkaDWDn7ODkXSBT3bnrgzdc4gOci3YNNZLe25wDjMszWtbpyVBuY1dfEse8pFeLDuiEFN_fc3YAJrAfO22fmc13VRFbMpvEvcCESCg8i2_zC7WMkw-ZqRbYpoaiZw"}"#;

/// The same key, in a certificate that was valid for a day.
pub(super) const RSA_CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIICpTCCAY2gAwIBAgIBBzANBgkqhkiG9w0BAQsFADAWMRQwEgYDVQQDDAtpc3N1
ZXIudGVzdDAeFw0yNjAxMDEwMDAwMDBaFw0yNjAxMDIwMDAwMDBaMBYxFDASBgNV
BAMMC2lzc3Vlci50ZXN0MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA
1BQVEKvIbfGAVMj88wTNECmjDM44F4YNPZPH1PkrosXKCj2QyAtUtnijXn3xL4ZZ
skDfuzCIzD2TmPOrkD/cKM1fLGUoiQV+uaQTZe7ZH29fLwG2YAh7B4c05P6/edF1
JwCuhd0Li9gwsBtOIuOFZzIYptLOxynMSGAguNLc/bBL0JUwRPFS0mEMEftepmxm
Gey23xqx1ulVcZ9TceaisNNWFBkaDWDn7ODkXSBT3bnrgzdc4gOci3YNNZLe25wD
jMszWtbpyVBuY1dfEse8pFeLDuiEFN/fc3YAJrAfO22fmc13VRFbMpvEvcCESCg8
i2/zC7WMkw+ZqRbYpoaiZwIDAQABMA0GCSqGSIb3DQEBCwUAA4IBAQDEH14Nx2QD
N4G/2xuE+rn79yJN07VmuBsDfmgnBPA/kvX4VuktInNPmxOcLbfAsXn5tAmlK/6X
LM+vd1r/yeKKlEJ7dtKjzSyaiklz9tII68FiFizbzLhW7aG4f1SRsvJBaRBOJUmW
GppkILVYes59CMNHupgpnpwgggVN3FMmDhHLqHIIAczFWtV2aF2JExeZ0cdhcnTg
usGbRUUTHK76Wg8GEt/ck4qivhQnHGgp+oWH1klmziYT7sVMk2Wnhdm5Te9Ljx9S
wEXkQLte9PmvYHVngMpzIuXJcegkAyyVPcUn35EK8GWTfYPXfoWdscu9xqz84lsF
JxjamPThFN6h
-----END CERTIFICATE-----
";

/// Signs [`MESSAGE`].
pub(super) const RS256: &str = concat!(
    "eaOayYJIYckbIcyhDl6t15VSdcqpWqXBelL98vZEko1PoZ4Mu-kKaPJpCf5bEAEmt_2olLjCB17CFiZiJVzkf15lNsVkvO6mGhqP",
    "JDWh8tMJB-lizy7YPvTNGYJTOvUyg3LEk0al7mrqVRdfJXhJIpjLykhsN4I60aHiLzBfzYQmZBZ1N7JKLnpH-ydvqMpPDSpgM9Ho",
    "-OkcJj9X-p0KUijs3HJqiP5bRBMPficoavfbXtcvzhrYdR2PbNqDDpXk7KOElx70NFs-sYNLc1yHtR_w23lsvVHs31CBsVHSYSug",
    "iQI2wY69kQ6ib3weieYGcHiuK_4_uJFGwAMAsMnV5w",
);

/// Signs [`MESSAGE`].
pub(super) const RS384: &str = concat!(
    "AFGYL3_fC9-m7FoT5oK44HjM-ct7dhkboOWlK4KOKt3fb7r_hmtb3fJ-NMs-2BXQ1mF7iQD40sPe5JssweEBErM23GaFw7Kssar1",
    "jj8-3zUnLxfLEJiXhrQwHmfAeje4-In788qaf73XSLKiBinv68IWN5pOLqOmdR7u1FRuEoGVtg3w7FfbG6S9TskZcUaN5rjrgmjn",
    "IZ0fA66E32zIeY2VeJl8EYbjedciiid2sDoJubkqWIyaYx8KJaRtsoqOMahy1iiyfJpLOoYwBB9WNMS-_Ot9xarlELH-JBKTEGZW",
    "h_5mu9E3EQvYMENOAvFBsWDar4sk2BakVy-XxhSoTw",
);

/// Signs [`MESSAGE`].
pub(super) const RS512: &str = concat!(
    "DBXZvopMneY0BsHM_00-W9LR08SYnKTfQ6S5mDsOZqytnJPPxUicq4gGT_ZdLfnSoFMaTh55gQCM2TECyc8e5r3lkIGPl9lD1Sy1",
    "J5uYTYaGwXq4qqTOefu35kXLF7WAVSb_LD03CAcy0E8HbMQ-4Bw1Bstm4XmLnEwmldNZ7GfASdU-YofVQvxGy_87XA7_AHwbB2dx",
    "t4eQBw5D7o1R11CCF9tKjni3P6tBNRIK3zr2dAJAVnopUQ-gPdxJzTv6pi9uwmckYwM6xDygv7uyCcsLkC8ap2B2HpVrdaZrxqPY",
    "OINPDQ5tmnggOnQhZ5HDA81idn60ngcJFqFSVPp3Ng",
);

/// Signs [`MESSAGE`].
pub(super) const PS256: &str = concat!(
    "CNS7kYvzmAt7ShnccI94M6kYbUBJ6uTEUe-8YNfZYLbpe-Vw0upiweWYdH1E4T91RjQSCRUcYvj9T37aYOiHgB_XdVSjuZjyMfDx",
    "rY1cb-ZKHkZaGaVFUp_b21qCbNfuFQdyj7gcxGWrbgkBEa7zna6eUOlQfO2Nk2K6ORSWWMZekIJx1GZX7Qkkdm4W40CaNKS_PO7g",
    "0Nyw-_jflcARMoPZ13kdPB6EFkyMVOHwNDYBANDAro-DKbE6eC3NHZNyTqH05JSEVnwyy6eEaj_kMzXtn9CAomKAi_GdfjypcQVR",
    "f9Rc-w_MAzmSdNnGt3NknXbShNkIzhPaJoDHHxXYNw",
);

/// Signs [`MESSAGE`].
pub(super) const PS384: &str = concat!(
    "0acuL8UGFdtoxGJK54gfw9mi26eklACFo_T-2rMgF16gFfYf6mtQVxu9tpDtFFANLqQ8FdIK8yTjuaL9PrOQ1a2Efw2kYDXLypzb",
    "PlPg1uVkq0UvEVJlCFVAKeho7yJoEz4ObeYqrvc34qUItZLW2sOl6r5QE74hSwlvB5azTx544uQUpbzqriO0CmoRKEu_NzgECCSM",
    "ccsuhDkLb03Z0JidXn1emfxEirWnJ-zA9Vf6fAxumdqDCc5hCvLODYwx4ItWQtbdzSW9qmNsM9fNYA_VTuhxyPEiylew9JLF9mia",
    "338eviytD18htlBJfLOtSMuXNp4zrFqucJc9-uUomw",
);

/// Signs [`MESSAGE`].
pub(super) const PS512: &str = concat!(
    "A_1wjnfLZgXLXakBXaedlPhlhsu56IDm8ioIG8P1IQbfcQtjIzzsMKBHKfngktvD7yTcvAKW68m9ihjh8JBfqQ6DtKazOg7E7Fde",
    "94hTt_py4AjHHp5PXBMEK31_BGoDTUIO02AbD4IPv9oEVqEqgWbooJWwEgexIv-2Bxvc2aOiOeCwzg9tFT2QHmOg9TeR9KvNd2iw",
    "oZstAirccxlUGBff5hda86sjPK01_4QVqRKgFkzJBdqBr3Vhxe_HaqjvdkyZeAoIELv5xVuVAWRdth_X5YcjRQ5KuueQzqpFc_Pe",
    "I_G22ORJHpRLL4Pqaz_po5dmi5JGU09alx2EG_Cb_A",
);

/// A salt of the greatest length, which RFC 7518 §3.5 does not allow.
pub(super) const PS256_LONG_SALT: &str = concat!(
    "gBUpcJRcgC36jG5-3_U84JhErBi57UK-eW9TmznCJF75yBp96r8W1RvIHeDeiljyDX8h_d-wvdmz0vMiCNya-wlMjFxCbPsKlJBH",
    "sQarDtV8VX7LuUw4ekl2K65gdFKGZS-PPx-bFgQBqDV5kPFH0np84OuiQnFssyRwX74mPrioAhO3UrDxvEZQC6hfFWtWhBRxVGfi",
    "-rxIOjSE10NLm4Inls9boeeclTzfiQfZoDQTDFm9J4eMvNeV5g8WClc4R4SBRXuY0WnCZOV8iQqkPUxN7VPzcvvoiIdlDAlMwpbj",
    "tJq49Rn1TVfMwM9STWquuq6OHoNmMYshGqlHvWKH9w",
);

pub(super) const P256_PEM: &str = "\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEKWngwS1fHy/tK5iCeNJJjd0rVdPX
H2KsdV7kCpfQLjZG3clToLeFc8UgyMS2aqoLN9Axz4AsvV2dady+DMNVrg==
-----END PUBLIC KEY-----
";

/// The same key.
pub(super) const P256_JWK: &str = r#"{"kty":"EC","crv":"P-256","x":"KWngwS1fHy_tK5iCeNJJjd0rVdPXH2KsdV7kCpfQLjY","y":"Rt3JU6C3hXPFIMjEtmqqCzfQMc-ALL1dnWncvgzDVa4"}"#;

/// Signs [`MESSAGE`].
pub(super) const ES256: &str =
    "LW-BfG_jjT6kOoMrvVV2-ous0tbf2faq3lZvsSh4Dxb0h3SIMWJgYTCVERN4kQjAVdINmuYf91fw2-R6-8M4Ew";

/// The same signature in the form that JWS does not use.
pub(super) const ES256_DER: &str =
    "MEUCIC1vgXxv440-pDqDK71VdvqLrNLW39n2qt5Wb7EoeA8WAiEA9Id0iDFiYGEwlRETeJEIwFXSDZrmH_dX8NvkevvDOBM";

/// The same key.
pub(super) const P256_CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBGTCBv6ADAgECAgEIMAoGCCqGSM49BAMCMBYxFDASBgNVBAMMC2lzc3Vlci50
ZXN0MB4XDTI2MDEwMTAwMDAwMFoXDTI2MDEwMjAwMDAwMFowFjEUMBIGA1UEAwwL
aXNzdWVyLnRlc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQpaeDBLV8fL+0r
mIJ40kmN3StV09cfYqx1XuQKl9AuNkbdyVOgt4VzxSDIxLZqqgs30DHPgCy9XZ1p
3L4Mw1WuMAoGCCqGSM49BAMCA0kAMEYCIQDbkcujWedCDudSBgM8LDYNWgaC1gqt
TDkK5DsoHVBARAIhAND/fEeQ0bgdnx2NkuRp9MnjmQuilFjKogJgkpwUN9Gl
-----END CERTIFICATE-----
";

pub(super) const P384_PEM: &str = "\
-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEUrymGGnCOQHkJCLgPR1djRn2SpoIJrGh
z7Tkzl53vSm2Y8l5l91Mp9bgA4a5Mr7/YMd4eFWb8jzYG3Z2QTv5SQE9BEQz7OJL
kqFuAkOm9068QBLfiS3bL8ghsIIJWQ8o
-----END PUBLIC KEY-----
";

/// The same key.
pub(super) const P384_JWK: &str = r#"{"kty":"EC","crv":"P-384","x":"UrymGGnCOQHkJCLgPR1djRn2SpoIJrGhz7Tkzl53vSm2Y8l5l91Mp9bgA4a5Mr7_","y":"YMd4eFWb8jzYG3Z2QTv5SQE9BEQz7OJLkqFuAkOm9068QBLfiS3bL8ghsIIJWQ8o"}"#;

/// Signs [`MESSAGE`].
pub(super) const ES384: &str = concat!(
    "3vuxnKS4dcIqLhVIGB7eALMKlSXG1QuTedOmRqmkj-ljtquL02jUjOC9Dse-CHBqePs7qbWSH7_akMTyDgxInxrK80CXcrK1m2ym",
    "FfbXyNSdGno9H0oZY-xIsqhZgA8f",
);

pub(super) const ED25519_PEM: &str = "\
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAqBv1YyhUeI/0Fr8YYmMx0w1dk+icKWrA6tXujXYrMcg=
-----END PUBLIC KEY-----
";

/// Signs [`MESSAGE`].
pub(super) const ED25519: &str =
    "jppQ8RGQY0dmExFvK5rEn0Mt6mFRK1SQFimccBB9q5EKVM-KBrxALLHrRAxM6i_HLjc-c35l54aTeIfi-OZIAw";

/// A curve that is not supported.
pub(super) const ED448_PEM: &str = "\
-----BEGIN PUBLIC KEY-----
MEMwBQYDK2VxAzoAgwF1oUll55Yz3TA4ay2rgry4/29zIId2OARqGici9yKBE9C1
WPn/uoh+pcsnYFpgcWH/1vVJiPqA
-----END PUBLIC KEY-----
";

/// A curve that is not supported.
pub(super) const P521_PEM: &str = "\
-----BEGIN PUBLIC KEY-----
MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQAbqJ6PIa6AZ4gSRo0Vb5ozTXs7+JQ
jstprLbQyChfR10nFX3HYKdpJizXr304CmNqnANyT6ElI1EUW8PZl64buu8AIgM5
WzS6kWe1VTSbgEdgUMekpK8M0Eyyi4/6VZGVokWtEJm4w/8nIvgQw8oo1DIG4HzT
MYrVirj4qy4tCZMkGGo=
-----END PUBLIC KEY-----
";

/// A curve that is not supported.
pub(super) const SECP256K1_PEM: &str = "\
-----BEGIN PUBLIC KEY-----
MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAEsNxNTzm/TyJK/XDXTYJ8xt1iUnbJc5xt
gnrRI2kmJ0A68qPNp4fIcNwwDLps0d2xv4jXL0qjm8ZY3pE0OuQvxA==
-----END PUBLIC KEY-----
";

/// Too small.
pub(super) const RSA_1024_PEM: &str = "\
-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQCxa9jxEMWyvvAw14allvjZx0cF
IpIk0rjUAFT+lScRsIDh+DJvE7aTjLfZZdBbSJtvj3L3n85CxVmos6uF4CD3FKzs
dIqmtQIqnYz1DZ4Hbmxb3awW6vjQSYOemy9VR8EISsBh5SIUER1S5RxQeQaGqUX3
2vz1mB/QfJvRALJD7wIDAQAB
-----END PUBLIC KEY-----
";

/// Too small.
pub(super) const RSA_1024_JWK: &str = r#"{"kty":"RSA","e":"AQAB","n":"sWvY8RDFsr7wMNeGpZb42cdHBSKSJNK41ABU_pUnEbCA4fgybxO2k4y32WXQW0ibb49y95_OQsVZqLOrheAg9xSs7HSKprUCKp2M9Q2eB25sW92sFur40EmDnpsvVUfBCErAYeUiFBEdUuUcUHkGhqlF99r89Zgf0Hyb0QCyQ-8"}"#;

/// A key that is marked for PSS alone.
pub(super) const RSA_PSS_PEM: &str = "\
-----BEGIN PUBLIC KEY-----
MIIBIDALBgkqhkiG9w0BAQoDggEPADCCAQoCggEBALoxSs5kE+s7uEqY98GEdw0A
/vKaalV4v9uQmQvVOoIpJ2CKJSyQ3YQEdBHf1Vx0C9H6I6tbKJKTq4uuEbnJ7SzI
65cZiXN51Uz6EhHLlukK3S7f2hG6L1v33uY27gvHAacMKNx8kt9Sc7L3s45yifbZ
SiwjKxLMYxeTFj9Lz/sSiN2EI7JuvbBpCzb0RdD3cqrdsaRgg5paGEIVlu1Ua1vx
pRTQS4kG6idxLrlHvZPU2rKx6d/jWGiNK2SawXdF/fFikxMyQ37qJEVBGNc+eG4P
y+LvCnUS3iy6OikZ4XKruWatL9r9PboP7930i/9cgf9W06NwnPMIW4wtyjHhoJ0C
AwEAAQ==
-----END PUBLIC KEY-----
";
