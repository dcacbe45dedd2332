//! The links of a net: one for each device, and who reaches whom.

use std::fmt;

use conclave_core::link::LinkInfo;
use conclave_proto::Timestamp;

use super::{Carrier, Wire, Wires};
use crate::dice::Dice;

/// Which way frames go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the relay.
    Up,
    /// From it.
    Down,
}

/// Something that a link ends at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// The relay.
    Relay,
    /// The device of this number.
    Device(usize),
}

/// What carries frames between each device and the relay, and who is apart from whom.
///
/// A device has the usual wires unless it was given others.
#[derive(Debug)]
pub struct Paths {
    usual: Wires,
    devices: Vec<Path>,
}

#[derive(Debug)]
struct Path {
    info: LinkInfo,
    wires: [Wire; 2],
    own: Option<Own>,
    apart: bool,
}

/// Carriers of the tester's own: what makes them, and those of the open link.
struct Own {
    make: Box<dyn FnMut() -> [Box<dyn Carrier>; 2]>,
    open: [Box<dyn Carrier>; 2],
}

impl Paths {
    /// Paths that are all the same.
    #[must_use]
    pub const fn new(usual: Wires) -> Self {
        Self { usual, devices: Vec::new() }
    }

    /// Makes the paths of a world with so many devices.
    pub fn grow(&mut self, devices: usize) {
        while self.devices.len() < devices {
            self.devices.push(Path::new(self.usual));
        }
    }

    /// Gives a device other wires. What was on the wires before is lost, so this comes before the
    /// link is opened, or together with [`Net::cut`](crate::net::Net::cut).
    ///
    /// # Panics
    /// If there is no such device.
    pub fn replace(&mut self, device: usize, wires: Wires) {
        let apart = self.devices[device].apart;
        self.devices[device] = Path { apart, ..Path::new(wires) };
    }

    /// Lets a device's links be carried by a model of the tester's own, which is made anew for
    /// each link: first the way up, then the way down. It counts from the next link on.
    ///
    /// # Panics
    /// If there is no such device.
    pub fn carry_with(
        &mut self,
        device: usize,
        info: LinkInfo,
        mut make: impl FnMut() -> [Box<dyn Carrier>; 2] + 'static,
    ) {
        let open = make();
        let path = &mut self.devices[device];
        path.info = info;
        path.own = Some(Own { make: Box::new(make), open });
    }

    /// The wire of a device that goes one way, to change it or to plan changes.
    ///
    /// # Panics
    /// If there is no such device.
    pub fn wire(&mut self, device: usize, way: Way) -> &mut Wire {
        &mut self.devices[device].wires[way as usize]
    }

    /// What a device's link promises.
    ///
    /// # Panics
    /// If there is no such device.
    #[must_use]
    pub fn info(&self, device: usize) -> LinkInfo {
        self.devices[device].info
    }

    /// Sets ends apart: those of different sets do not reach each other, until
    /// [`heal`](Self::heal). Devices reach each other through the relay, so it is the devices of
    /// its set that go on; an end in no set is in the relay's.
    ///
    /// Frames sent meanwhile are lost, or, on a reliable link, not sent; frames that were sent
    /// before arrive.
    pub fn partition(&mut self, sets: &[&[End]]) {
        let set_of = |end: End| sets.iter().position(|set| set.contains(&end));
        let relay = set_of(End::Relay);
        for (index, path) in self.devices.iter_mut().enumerate() {
            let device = set_of(End::Device(index));
            path.apart = device.is_some() && device != relay;
        }
    }

    /// Ends a partition.
    pub fn heal(&mut self) {
        self.partition(&[]);
    }

    /// Whether a partition keeps a device from the relay.
    #[must_use]
    pub fn is_apart(&self, device: usize) -> bool {
        self.devices.get(device).is_some_and(|path| path.apart)
    }

    /// Starts a device's next link: nothing of the one before arrives on it.
    pub(crate) fn open(&mut self, device: usize) {
        let path = &mut self.devices[device];
        path.wires.iter_mut().for_each(Wire::clear);
        if let Some(Own { make, open }) = &mut path.own {
            *open = make();
        }
    }

    pub(crate) fn can_send(&self, device: usize, way: Way) -> bool {
        let path = &self.devices[device];
        !(path.apart && path.info.reliable) && path.carrier(way).can_send()
    }

    pub(crate) fn send(
        &mut self,
        device: usize,
        way: Way,
        now: Timestamp,
        frame: Vec<u8>,
        dice: &mut Dice,
    ) {
        let path = &mut self.devices[device];
        if !path.apart {
            path.carrier_mut(way).send(now, frame, dice);
        }
    }

    pub(crate) fn poll(&mut self, device: usize, way: Way, now: Timestamp) -> Option<Vec<u8>> {
        self.devices[device].carrier_mut(way).poll(now)
    }

    pub(crate) fn is_empty(&self, device: usize, way: Way) -> bool {
        self.devices[device].carrier(way).is_empty()
    }

    pub(crate) fn next_timeout(&self, device: usize) -> Option<Timestamp> {
        let path = &self.devices[device];
        [Way::Up, Way::Down].into_iter().filter_map(|way| path.carrier(way).next_timeout()).min()
    }

    /// Lets every wire do what it has planned.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        for wire in self.devices.iter_mut().flat_map(|path| &mut path.wires) {
            wire.handle_timeout(now);
        }
    }
}

impl Path {
    const fn new(wires: Wires) -> Self {
        let Wires { info, up, down } = wires;
        let wires = if info.reliable {
            [Wire::reliable(up), Wire::reliable(down)]
        } else {
            [Wire::unreliable(up), Wire::unreliable(down)]
        };
        Self { info, wires, own: None, apart: false }
    }

    fn carrier(&self, way: Way) -> &dyn Carrier {
        match &self.own {
            Some(own) => &*own.open[way as usize],
            None => &self.wires[way as usize],
        }
    }

    fn carrier_mut(&mut self, way: Way) -> &mut dyn Carrier {
        match &mut self.own {
            Some(own) => &mut *own.open[way as usize],
            None => &mut self.wires[way as usize],
        }
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.open.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use conclave_proto::Timestamp;

    use super::{Paths, Way, Wires};
    use crate::{
        dice::Dice,
        wire::{Carrier, Wire, WireSettings},
    };

    /// E6: what is on a link when it ends is lost, on a wire and on a model of one's own.
    #[test]
    fn nothing_of_an_earlier_link_arrives() {
        let settings = WireSettings { delay_ms: 10, ..WireSettings::PERFECT };
        let wires = Wires { up: settings, down: settings, ..Wires::GOOD };
        let mut paths = Paths::new(wires);
        paths.grow(2);
        paths.carry_with(1, wires.info, move || {
            [(); 2].map(|()| Box::new(Wire::reliable(settings)) as Box<dyn Carrier>)
        });
        let (now, mut dice) = (Timestamp(1_790_000_000_000), Dice::new(1));
        for device in [0, 1] {
            paths.send(device, Way::Up, now, vec![1], &mut dice);
            paths.open(device);
            assert!(paths.is_empty(device, Way::Up));
            assert_eq!(paths.poll(device, Way::Up, now.plus_ms(20)), None);
        }
    }
}
