//! Rewrites HTML as it streams by, with a parser that lives in the instance: links get `rel="nofollow"`, and the end of the
//! page says how many there were.

use std::cell::RefCell;
use std::rc::Rc;

use lol_html::html_content::{ContentType, DocumentEnd};
use lol_html::{HtmlRewriter, OutputSink, Settings, element, end};
use tidegate_plugin_sdk::prelude::*;

/// What the parser put out and was not passed on yet.
#[derive(Clone, Default)]
struct Output(Rc<RefCell<Vec<u8>>>);

impl OutputSink for Output {
    fn handle_chunk(&mut self, chunk: &[u8]) {
        self.0.borrow_mut().extend_from_slice(chunk);
    }
}

#[derive(Default)]
struct Stream {
    output: Output,
    rewriter: RefCell<Option<HtmlRewriter<'static, Output>>>,
}

#[policy]
impl Policy for Stream {
    type Config = ();

    fn configure((): ()) -> Result<Self, Error> {
        Ok(Self::default())
    }

    fn on_response(&self, _: &Request, response: &Response) -> Verdict {
        let is_html = response.header("content-type").is_some_and(|kind| kind.starts_with("text/html"));
        if is_html && response.decode_body() {
            response.set_body_mode(BodyMode::StatefulChunks);
            self.output.0.borrow_mut().clear();
            *self.rewriter.borrow_mut() = Some(rewriter(self.output.clone()));
        }
        Verdict::Next
    }

    fn on_response_chunk(&self, _: &Request, _: &Response, chunk: &Body) -> Verdict {
        let mut rewriter = self.rewriter.borrow_mut();
        let Some(running) = rewriter.as_mut() else { return Verdict::Fail };
        if running.write(&chunk.read(0..chunk.len())).is_err() {
            return Verdict::Fail;
        }
        if chunk.is_last() && rewriter.take().is_some_and(|running| running.end().is_err()) {
            return Verdict::Fail;
        }
        let output = std::mem::take(&mut *self.output.0.borrow_mut());
        if chunk.replace(output).is_ok() { Verdict::Next } else { Verdict::Fail }
    }
}

fn rewriter(output: Output) -> HtmlRewriter<'static, Output> {
    let links = Rc::new(RefCell::new(0));
    let counted = links.clone();
    let settings = Settings {
        element_content_handlers: vec![element!("a[href]", move |link| {
            *counted.borrow_mut() += 1;
            Ok(link.set_attribute("rel", "nofollow")?)
        })],
        document_content_handlers: vec![end!(move |end: &mut DocumentEnd<'_>| {
            end.append(&format!("<!-- {} links -->", links.borrow()), ContentType::Html);
            Ok(())
        })],
        ..Settings::new()
    };
    HtmlRewriter::new(settings, output)
}
