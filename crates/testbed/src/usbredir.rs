//! The USB redirection protocol as QEMU's `usb-redir` device speaks it, for a device with control transfers only.
//!
//! Source: usb-redirection-protocol.txt (version 0.7) of the usbredir project. Only framing and the few packets that
//! such a device meets; what the device does is [`ControlDevice`]'s business.

use std::io::{self, Read, Write};

/// Packet types (section "Packet types" of the protocol).
mod packet {
    pub(super) const HELLO: u32 = 0;
    pub(super) const DEVICE_CONNECT: u32 = 1;
    pub(super) const INTERFACE_INFO: u32 = 4;
    pub(super) const EP_INFO: u32 = 5;
    pub(super) const SET_CONFIGURATION: u32 = 6;
    pub(super) const GET_CONFIGURATION: u32 = 7;
    pub(super) const CONFIGURATION_STATUS: u32 = 8;
    pub(super) const SET_ALT_SETTING: u32 = 9;
    pub(super) const GET_ALT_SETTING: u32 = 10;
    pub(super) const ALT_SETTING_STATUS: u32 = 11;
    pub(super) const CONTROL: u32 = 100;
}

/// Capabilities that we announce: connect_device_version (1), ep_info_max_packet_size (4), 64bits_ids (5) and
/// 32bits_bulk_length (6). QEMU lets a device on xHCI only with the last three.
const CAPABILITIES: u32 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6;

/// Length of the version text in the hello packet.
const VERSION_BYTES: usize = 64;
/// Interfaces and endpoints in the information packets, used or not.
const SLOTS: usize = 32;
/// Endpoint type of an endpoint that does not exist.
const NO_ENDPOINT: u8 = 255;
/// Largest packet of endpoint 0 of a full-speed device.
const CONTROL_PACKET_BYTES: u16 = 64;
/// Longest packet that is read: a control transfer has at most 65,535 bytes.
const PACKET_BYTES_MAX: u32 = 128 * 1024;

/// Status of a packet.
const STATUS_SUCCESS: u8 = 0;
const STATUS_STALL: u8 = 4;

/// A control request (USB 2.0 section 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) request_type: u8,
    pub(crate) request: u8,
    pub(crate) value: u16,
    pub(crate) index: u16,
    pub(crate) length: u16,
}

impl Setup {
    /// Bit 7 of the request type: from the device to the host.
    pub(crate) fn is_in(&self) -> bool {
        self.request_type & 0x80 != 0
    }
}

/// A device that has endpoint 0 only.
pub(crate) trait ControlDevice: Send {
    /// Vendor, product and version as the device descriptor has them.
    fn ids(&self) -> [u16; 3];

    /// Answers a request with data (empty for those to the device), or `None` to stall.
    fn control(&mut self, setup: Setup, data: &[u8]) -> Option<Vec<u8>>;
}

/// Speaks for `device` until QEMU closes the connection.
pub(crate) fn serve(stream: &mut (impl Read + Write), device: &mut dyn ControlDevice) -> io::Result<()> {
    let mut hello = vec![0; VERSION_BYTES];
    hello.extend(CAPABILITIES.to_le_bytes());
    // The hello's own header still has the short identifier; so has QEMU's.
    send_header(stream, packet::HELLO, hello.len(), &[0; 4])?;
    stream.write_all(&hello)?;
    let mut id_bytes = 4;
    loop {
        let mut head = [0; 8];
        if let Err(error) = stream.read_exact(&mut head) {
            return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(()) } else { Err(error) };
        }
        let (kind, length) = (word(&head, 0), word(&head, 4));
        if length > PACKET_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a usb-redir packet of impossible length",
            ));
        }
        let mut id = vec![0; id_bytes];
        stream.read_exact(&mut id)?;
        let mut body = vec![0; usize::try_from(length).unwrap_or_default()];
        stream.read_exact(&mut body)?;
        if kind == packet::HELLO {
            id_bytes = 8;
            introduce(stream, device)?;
        } else if let Some((kind, answer)) = answer(kind, &body, device) {
            send(stream, kind, &id, &answer)?;
        }
    }
}

/// Plugs the device in.
fn introduce(stream: &mut impl Write, device: &dyn ControlDevice) -> io::Result<()> {
    let no_id = [0; 8];
    // One interface, of the vendor's own class: number, class, subclass, protocol, 32 of each.
    let mut interfaces = vec![0; 4 + 4 * SLOTS];
    put(&mut interfaces, 0, 1);
    put(&mut interfaces, 4 + SLOTS, 0xff);
    send(stream, packet::INTERFACE_INFO, &no_id, &interfaces)?;
    // Endpoint 0 in both directions (places 0 and 16): type, interval, interface, largest packet.
    let mut endpoints = vec![NO_ENDPOINT; SLOTS];
    endpoints.resize(3 * SLOTS, 0);
    put(&mut endpoints, 0, 0);
    put(&mut endpoints, 16, 0);
    for at in 0..SLOTS {
        let bytes = if at % 16 == 0 { CONTROL_PACKET_BYTES } else { 0 };
        endpoints.extend(bytes.to_le_bytes());
    }
    send(stream, packet::EP_INFO, &no_id, &endpoints)?;
    // Full speed (1), class in the interface, then the ids.
    let mut connect = vec![1, 0xff, 0, 0];
    for id in device.ids() {
        connect.extend(id.to_le_bytes());
    }
    send(stream, packet::DEVICE_CONNECT, &no_id, &connect)
}

/// The answer to one packet, if it wants any.
fn answer(kind: u32, body: &[u8], device: &mut dyn ControlDevice) -> Option<(u32, Vec<u8>)> {
    let byte = |at: usize| body.get(at).copied().unwrap_or_default();
    match kind {
        packet::SET_CONFIGURATION => Some((packet::CONFIGURATION_STATUS, vec![STATUS_SUCCESS, byte(0)])),
        packet::GET_CONFIGURATION => Some((packet::CONFIGURATION_STATUS, vec![STATUS_SUCCESS, 1])),
        packet::SET_ALT_SETTING => Some((packet::ALT_SETTING_STATUS, vec![STATUS_SUCCESS, byte(0), byte(1)])),
        packet::GET_ALT_SETTING => Some((packet::ALT_SETTING_STATUS, vec![STATUS_SUCCESS, byte(0), 0])),
        packet::CONTROL => Some((packet::CONTROL, control(body, device)?)),
        _ => None,
    }
}

/// Carries out a control packet: endpoint, request, request type, status, value, index, length, data.
fn control(body: &[u8], device: &mut dyn ControlDevice) -> Option<Vec<u8>> {
    let [endpoint, request, request_type, _status, v0, v1, i0, i1, l0, l1, data @ ..] = body else {
        return None;
    };
    let setup = Setup {
        request_type: *request_type,
        request: *request,
        value: u16::from_le_bytes([*v0, *v1]),
        index: u16::from_le_bytes([*i0, *i1]),
        length: u16::from_le_bytes([*l0, *l1]),
    };
    let (status, mut content) = match device.control(setup, data) {
        Some(content) => (STATUS_SUCCESS, content),
        None => (STATUS_STALL, Vec::new()),
    };
    content.truncate(usize::from(setup.length));
    let length = if setup.is_in() { content.len() } else { data.len() };
    let mut answer = vec![*endpoint, *request, *request_type, status, *v0, *v1, *i0, *i1];
    answer.extend(u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
    if setup.is_in() {
        answer.extend(content);
    }
    Some(answer)
}

fn send(stream: &mut impl Write, kind: u32, id: &[u8], body: &[u8]) -> io::Result<()> {
    send_header(stream, kind, body.len(), id)?;
    stream.write_all(body)
}

fn send_header(stream: &mut impl Write, kind: u32, length: usize, id: &[u8]) -> io::Result<()> {
    let mut header = kind.to_le_bytes().to_vec();
    header.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    header.extend(id);
    stream.write_all(&header)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..at + 4).and_then(|four| <[u8; 4]>::try_from(four).ok());
    u32::from_le_bytes(four.unwrap_or_default())
}

fn put(bytes: &mut [u8], at: usize, value: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = value;
    }
}
