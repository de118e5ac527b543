//! What the policies of an exchange want of its bodies.

/// Which of the two messages of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Side {
    Request,
    Response,
}

/// How much of a body a policy asked for in its head phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyMode {
    /// None of it. Default.
    #[default]
    Skip,
    /// Each chunk as it passes, by whatever instance is free.
    Chunks,
    /// Each chunk as it passes, all of them by the instance that asked.
    StatefulChunks,
    /// All of it at once.
    Whole,
}

/// What policies asked for, of both messages. Costs nothing while no policy asked.
#[derive(Debug, Default)]
pub(crate) struct Bodies {
    request: Wanted,
    response: Wanted,
}

#[derive(Debug, Default)]
struct Wanted {
    /// By plugin, those that want to see any of it. A handful at most, so a scan beats a map.
    modes: Vec<(u64, BodyMode)>,
    decoded: bool,
}

impl Bodies {
    pub(crate) fn any(&self, side: Side) -> bool {
        !self.of(side).modes.is_empty()
    }

    pub(crate) fn mode(&self, side: Side, plugin: u64) -> BodyMode {
        let found = self.of(side).modes.iter().find(|(of, _)| *of == plugin);
        found.map_or(BodyMode::Skip, |(_, mode)| *mode)
    }

    /// Returns what it was.
    pub(crate) fn set_mode(&mut self, side: Side, plugin: u64, mode: BodyMode) -> BodyMode {
        let old = self.mode(side, plugin);
        let modes = &mut self.of_mut(side).modes;
        modes.retain(|(of, _)| *of != plugin);
        if mode != BodyMode::Skip {
            modes.push((plugin, mode));
        }
        old
    }

    pub(crate) fn decoded(&self, side: Side) -> bool {
        self.of(side).decoded
    }

    /// Returns what it was.
    pub(crate) fn set_decoded(&mut self, side: Side, decoded: bool) -> bool {
        std::mem::replace(&mut self.of_mut(side).decoded, decoded)
    }

    pub(crate) fn forget_response(&mut self) {
        self.response = Wanted::default();
    }

    fn of(&self, side: Side) -> &Wanted {
        match side {
            Side::Request => &self.request,
            Side::Response => &self.response,
        }
    }

    fn of_mut(&mut self, side: Side) -> &mut Wanted {
        match side {
            Side::Request => &mut self.request,
            Side::Response => &mut self.response,
        }
    }
}
