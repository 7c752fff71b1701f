//! What S3 answers, and what becomes of it: against a server on this machine that says what it is told.

use std::sync::{Arc, Once};
use std::time::Duration;

use bytes::Bytes;
use lodestone_store::{OpenOptions, Store, StoreErrorKind, open, probe, system_clock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Credentials reach a store by the environment alone.
fn set_credentials() {
    static SET: Once = Once::new();
    SET.call_once(|| {
        // SAFETY: no test of this binary gets further before this is done, and nothing changes them after.
        unsafe {
            std::env::set_var("AWS_ACCESS_KEY_ID", "key");
            std::env::set_var("AWS_SECRET_ACCESS_KEY", "secret");
        }
    });
}

/// A store whose server answers every request with `answer`, and hangs up; an empty one hangs instead.
async fn store_that_hears(answer: String) -> Arc<dyn Store> {
    store_that_hears_in_turn(vec![answer]).await
}

/// The same with an answer for each request, the last one for all that come after.
async fn store_that_hears_in_turn(answers: Vec<String>) -> Arc<dyn Store> {
    set_credentials();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut open = Vec::new();
        let mut answers = answers.into_iter();
        let mut answer = String::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            answer = answers.next().unwrap_or(answer);
            let mut request = vec![0; 1 << 16];
            let _ = stream.read(&mut request).await;
            if !answer.is_empty() {
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
            open.push(stream);
        }
    });
    let options = OpenOptions {
        s3_endpoint: Some(endpoint),
        request_timeout: Duration::from_millis(500),
        ..OpenOptions::default()
    };
    open("s3://bucket/prefix", &options).unwrap()
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}", body.len())
}

fn failure(status: &str, code: &str) -> String {
    answer(status, "", &format!("<Error><Code>{code}</Code><Message>told so</Message></Error>"))
}

const OBJECT: &str = "etag: \"1\"\r\nlast-modified: Fri, 20 Nov 2026 10:00:00 GMT\r\n";

#[tokio::test]
async fn answers_to_a_create() {
    use StoreErrorKind as K;
    for (status, code, kind) in [
        ("412 Precondition Failed", "PreconditionFailed", K::AlreadyExists),
        ("409 Conflict", "ConditionalRequestConflict", K::Transient),
        ("500 Internal Server Error", "InternalError", K::Transient),
        ("503 Slow Down", "SlowDown", K::Transient),
        ("429 Too Many Requests", "TooManyRequests", K::Transient),
        ("507 Insufficient Storage", "XMinioStorageFull", K::Full),
        ("403 Forbidden", "AccessDenied", K::Denied),
        ("403 Forbidden", "InvalidAccessKeyId", K::Denied),
        ("401 Unauthorized", "Unauthorized", K::Denied),
        ("400 Bad Request", "ExpiredToken", K::Denied),
        ("400 Bad Request", "RequestTimeout", K::Transient),
        ("400 Bad Request", "EntityTooLarge", K::Invalid),
        ("404 Not Found", "NoSuchBucket", K::Invalid),
    ] {
        let store = store_that_hears(failure(status, code)).await;
        let error = store.put_new("a", Bytes::from_static(b"x")).await.unwrap_err();
        assert_eq!(error.kind, kind, "{status} {code}: {error}");
        assert_eq!(error.outcome_unknown(), kind == K::Transient, "{status} {code}");
    }
}

#[tokio::test]
async fn answers_to_the_completion_of_an_upload() {
    use StoreErrorKind as K;
    let id = "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>";
    let begun = [answer("200 OK", "", id), answer("200 OK", "etag: \"1\"\r\n", "")];
    let gone = || failure("404 Not Found", "NoSuchUpload");
    for (then, kind) in [
        // It has become the object, and the answer that said so was lost.
        (vec![gone(), answer("200 OK", OBJECT, "12345")], None),
        (vec![gone(), answer("200 OK", OBJECT, "another")], Some(K::Invalid)),
        (vec![gone(), answer("404 Not Found", "", "")], Some(K::Invalid)),
        (vec![gone(), failure("503 Slow Down", "SlowDown")], Some(K::Transient)),
        (vec![failure("200 OK", "InternalError")], Some(K::Transient)),
        (vec![failure("503 Slow Down", "SlowDown")], Some(K::Transient)),
        (vec![failure("403 Forbidden", "AccessDenied")], Some(K::Denied)),
    ] {
        let store = store_that_hears_in_turn([begun.to_vec(), then.clone()].concat()).await;
        let upload = store.begin_upload("a").await.unwrap();
        upload.send(0, Bytes::from_static(b"12345")).await.unwrap();
        assert_eq!(upload.complete().await.err().map(|error| error.kind), kind, "{then:?}");
    }
}

#[tokio::test]
async fn answers_to_reads() {
    use StoreErrorKind as K;
    for (status, code, kind) in [
        ("404 Not Found", "NoSuchKey", K::NotFound),
        ("404 Not Found", "NoSuchBucket", K::Invalid),
        ("403 Forbidden", "AccessDenied", K::Denied),
        ("503 Slow Down", "SlowDown", K::Transient),
        ("416 Range Not Satisfiable", "InvalidRange", K::Invalid),
    ] {
        let store = store_that_hears(failure(status, code)).await;
        assert_eq!(store.get("a").await.unwrap_err().kind, kind, "{status} {code}");
        assert_eq!(store.get_range("a", 0..4).await.unwrap_err().kind, kind, "{status} {code}");
    }
    for (status, kind) in [("403 Forbidden", K::Denied), ("503 Slow Down", K::Transient)] {
        let store = store_that_hears(failure(status, "X")).await;
        assert_eq!(store.list("a", None, 5).await.unwrap_err().kind, kind, "{status}");
    }
}

#[tokio::test]
async fn a_body_that_ends_early_is_never_short_bytes() {
    let cut = format!("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n{OBJECT}\r\n01234");
    let error = store_that_hears(cut).await.get("a").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Transient, "{error}");
    let range = "content-range: bytes 0-9/100\r\n";
    let cut = format!("HTTP/1.1 206 Partial Content\r\ncontent-length: 10\r\n{range}{OBJECT}\r\n01234");
    let error = store_that_hears(cut).await.get_range("a", 0..10).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Transient, "{error}");
    let fewer = answer("206 Partial Content", &format!("{range}{OBJECT}"), "01234");
    let error = store_that_hears(fewer).await.get_range("a", 0..10).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Transient, "{error}");
}

#[tokio::test]
async fn a_range_that_a_server_shortens_is_an_error() {
    let shorter = answer("206 Partial Content", &format!("content-range: bytes 0-4/5\r\n{OBJECT}"), "01234");
    let error = store_that_hears(shorter).await.get_range("a", 0..10).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Invalid, "{error}");
    let whole = answer("200 OK", OBJECT, "0123456789");
    assert!(store_that_hears(whole).await.get_range("a", 0..5).await.is_err());
}

#[tokio::test]
async fn a_list_out_of_order_is_refused() {
    let entry = |key: &str| {
        format!(
            "<Contents><Key>prefix/{key}</Key><Size>1</Size><LastModified>2026-11-20T10:00:00.000Z</LastModified></Contents>"
        )
    };
    let list = |keys: &[&str]| {
        let entries: String = keys.iter().map(|key| entry(key)).collect();
        answer("200 OK", "", &format!("<ListBucketResult>{entries}</ListBucketResult>"))
    };
    let listed = store_that_hears(list(&["a", "b"])).await.list("", None, 5).await.unwrap();
    assert_eq!(listed.iter().map(|o| o.key.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let error = store_that_hears(list(&["b", "a"])).await.list("", None, 5).await.unwrap_err();
    assert!(error.to_string().contains("order of keys"), "{error}");
    let late = store_that_hears(list(&["a", "b"])).await.list("", Some("a"), 5).await;
    assert!(late.is_err());
}

#[tokio::test]
async fn silence_and_no_server_at_all() {
    let store = store_that_hears(String::new()).await;
    let error = store.put_new("a", Bytes::from_static(b"x")).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Timeout, "{error}");
    assert!(error.outcome_unknown());

    set_credentials();
    let options = OpenOptions { s3_endpoint: Some("http://127.0.0.1:1".into()), ..OpenOptions::default() };
    let error = open("s3://bucket", &options).unwrap().get("a").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Transient, "{error}");
}

#[tokio::test]
async fn the_probe_tells_wrong_credentials_and_a_missing_bucket_apart() {
    for (status, code, words) in [
        ("403 Forbidden", "InvalidAccessKeyId", "check credentials and permissions"),
        ("404 Not Found", "NoSuchBucket", "the bucket `bucket` does not exist"),
        ("301 Moved Permanently", "PermanentRedirect", "region"),
    ] {
        let store = store_that_hears(failure(status, code)).await;
        let error = probe(store.as_ref(), &system_clock(), 1).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}
