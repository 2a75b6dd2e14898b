//! What a test wants of its machine, and QEMU's command line for it. It starts nothing.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{
    TestbedError,
    cpio::Archive,
    debian,
    host::{CacheLock, read},
    i2c::I2cBus,
    initramfs::BootFiles,
    modules::GPIO_SIM,
};

/// Memory of the guest, MiB, when the test names none: a Zero 2 W has as much.
const MEMORY_MIB: u32 = 512;

/// The programs of ext4 and the libraries that they have besides the guest's own.
const EXT4_PACKAGES: &[&str] =
    &["e2fsprogs:arm64", "libext2fs2:arm64", "libcom-err2:arm64", "libblkid1:arm64", "libuuid1:arm64"];

/// Where QEMU's emulated network shows this computer's loopback to the guest.
pub const HOST_IN_GUEST: &str = "10.0.2.2";

/// A machine to boot: QEMU's `virt` with two Cortex-A72, 512 MiB, a serial log and nothing else unless asked.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    memory_mib: Option<u32>,
    modules: Vec<String>,
    kernel_arguments: Vec<String>,
    qemu_arguments: Vec<String>,
    files: Vec<(String, u32, Content)>,
    disks: Vec<Disk>,
    rtc_base: Option<String>,
    restarts: bool,
    pub(crate) system: Option<BootFiles>,
    pub(crate) gpio: bool,
    pub(crate) i2c: Option<I2cBus>,
}

#[derive(Clone, Debug)]
enum Content {
    Bytes(Vec<u8>),
    Host(PathBuf),
    Link(String),
}

/// How a disk is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// `/dev/vda`: the only one whose flushes a write log records whole.
    Virtio,
    /// `/dev/nvme0n1`.
    Nvme,
    /// `/dev/sda` by USB attached SCSI, which says that it does not rotate.
    Uas,
    /// `/dev/sda` by USB mass storage, which as many real bridges does not know whether it rotates.
    UsbStorage,
    /// `/dev/mmcblk0` behind a PCI SD host controller; its size must be a power of two.
    SdCard,
}

/// A disk of the guest.
#[derive(Clone, Debug)]
pub struct Disk {
    attach: Attach,
    backend: Backend,
    id: String,
    serial: Option<String>,
}

#[derive(Clone, Debug)]
enum Backend {
    /// A raw image.
    Image(PathBuf),
    /// A server at a socket.
    Nbd { name: String, socket: PathBuf },
    /// A node that the test's own QEMU arguments define.
    Node(String),
}

impl Disk {
    /// A raw image file of the host. Its QEMU id is `disk0` for the first disk, and so on, unless named.
    #[must_use]
    pub fn image(path: impl Into<PathBuf>, attach: Attach) -> Self {
        Self { attach, backend: Backend::Image(path.into()), id: String::new(), serial: None }
    }

    /// A disk that somebody serves by NBD at a unix socket, such as [`crate::block::serve`]. `name` is free to choose.
    #[must_use]
    pub fn nbd(name: &str, socket: &Path, attach: Attach) -> Self {
        let backend = Backend::Nbd { name: name.to_owned(), socket: socket.to_owned() };
        Self { attach, backend, id: String::new(), serial: None }
    }

    /// A block node that [`Setup::qemu`] arguments define (`-blockdev ...,node-name=NODE`).
    #[must_use]
    pub fn node(node: &str, attach: Attach) -> Self {
        Self { attach, backend: Backend::Node(node.to_owned()), id: String::new(), serial: None }
    }

    /// Names the device, for [`crate::Machine::unplug`].
    #[must_use]
    pub fn id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.id);
        self
    }

    /// Gives it a serial number.
    #[must_use]
    pub fn serial(mut self, serial: &str) -> Self {
        self.serial = Some(serial.to_owned());
        self
    }

    fn arguments(&self, number: usize) -> Vec<String> {
        let id = if self.id.is_empty() { format!("disk{number}") } else { self.id.clone() };
        let mut arguments = Vec::new();
        let node = match &self.backend {
            Backend::Node(node) => node.clone(),
            Backend::Nbd { name, socket } => {
                arguments.push("-blockdev".to_owned());
                let place = socket.display();
                arguments.push(format!("driver=nbd,node-name={name},server.type=unix,server.path={place}"));
                name.clone()
            }
            Backend::Image(path) => {
                let node = format!("image{number}");
                let place = path.display();
                arguments.push("-blockdev".to_owned());
                arguments.push(format!(
                    "driver=raw,node-name={node},discard=unmap,file.driver=file,file.filename={place}"
                ));
                node
            }
        };
        let serial = self.serial.as_ref().map(|serial| format!(",serial={serial}")).unwrap_or_default();
        let nvme_serial = self.serial.as_deref().unwrap_or("nvme");
        let devices = match self.attach {
            Attach::Virtio => vec![format!("virtio-blk-pci,drive={node},id={id}{serial}")],
            Attach::Nvme => vec![format!("nvme,drive={node},id={id},serial={nvme_serial}")],
            Attach::Uas => vec![
                format!("usb-uas,id={id},bus=usb.0"),
                format!("scsi-hd,drive={node},bus={id}.0,rotation_rate=1{serial}"),
            ],
            Attach::UsbStorage => vec![format!("usb-storage,drive={node},id={id},bus=usb.0{serial}")],
            Attach::SdCard => {
                vec![format!("sdhci-pci,id={id}-host"), format!("sd-card,drive={node},id={id}")]
            }
        };
        for device in devices {
            arguments.extend(["-device".to_owned(), device]);
        }
        arguments
    }
}

impl Setup {
    /// A machine with nothing attached.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives it so many MiB of memory.
    #[must_use]
    pub fn memory_mib(mut self, mib: u32) -> Self {
        self.memory_mib = Some(mib);
        self
    }

    /// Loads kernel modules before the first command; those of attached devices are loaded anyway.
    #[must_use]
    pub fn modules(mut self, names: &[&str]) -> Self {
        self.modules.extend(names.iter().map(|name| (*name).to_owned()));
        self
    }

    /// Adds words to the kernel's command line.
    #[must_use]
    pub fn kernel(mut self, words: &[&str]) -> Self {
        self.kernel_arguments.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// Adds arguments to QEMU's command line. USB devices go on `bus=usb.0`.
    #[must_use]
    pub fn qemu(mut self, arguments: &[&str]) -> Self {
        self.qemu_arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// Puts a file into the guest before it boots: the quickest way for programs.
    ///
    /// BusyBox init is the first process; an `/etc/inittab` that is put here must start the agent as the standing one
    /// does, by the line `::once:/sbin/testbed-agent`.
    #[must_use]
    pub fn file(mut self, path: &str, mode: u32, content: &[u8]) -> Self {
        self.files.push((path.to_owned(), mode, Content::Bytes(content.to_vec())));
        self
    }

    /// Puts a file of the host into the guest before it boots.
    #[must_use]
    pub fn host_file(mut self, path: &str, mode: u32, host: impl Into<PathBuf>) -> Self {
        self.files.push((path.to_owned(), mode, Content::Host(host.into())));
        self
    }

    /// Puts a symbolic link into the guest before it boots.
    #[must_use]
    pub fn link(mut self, path: &str, target: &str) -> Self {
        self.files.push((path.to_owned(), 0, Content::Link(target.to_owned())));
        self
    }

    /// Puts all files and links of a folder of the host into the guest at `place`, with their permission bits.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn host_tree(mut self, place: &str, host: &Path) -> Result<Self, TestbedError> {
        let list = |host| fs::read_dir(host).map_err(TestbedError::file("list", host));
        let mut entries: Vec<_> = list(host)?.filter_map(Result::ok).collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (path, name) = (entry.path(), entry.file_name());
            let place = format!("{}/{}", place.trim_end_matches('/'), name.to_string_lossy());
            let about = entry.metadata().map_err(TestbedError::file("look at", &path))?;
            if about.is_dir() {
                self = self.host_tree(&place, &path)?;
            } else if about.is_symlink() {
                let target = fs::read_link(&path).map_err(TestbedError::file("read", &path))?;
                self = self.link(&place, &target.to_string_lossy());
            } else {
                self = self.host_file(&place, about.permissions().mode() & 0o7777, path);
            }
        }
        Ok(self)
    }

    /// Puts the programs that make, check, grow and mark an ext4 into the guest, as Debian has them.
    ///
    /// # Errors
    /// When they cannot be fetched.
    pub fn ext4_programs(mut self) -> Result<Self, TestbedError> {
        let _lock = CacheLock::take()?;
        for package in EXT4_PACKAGES {
            let package = debian::unpacked(package)?;
            for folder in ["sbin", "lib", "usr/lib"] {
                let host = package.join(folder);
                if host.is_dir() {
                    self = self.host_tree(&format!("/{folder}"), &host)?;
                }
            }
        }
        Ok(self)
    }

    /// Attaches a disk.
    #[must_use]
    pub fn disk(mut self, disk: Disk) -> Self {
        self.disks.push(disk);
        self
    }

    /// Attaches an I2C bus; it is `/dev/i2c-0` in the guest.
    #[must_use]
    pub fn i2c(mut self, bus: &I2cBus) -> Self {
        self.i2c = Some(bus.clone());
        self
    }

    /// Starts the machine's own clock (`rtc-pl031`, from which its kernel sets the time) at another time, such as
    /// `2019-02-03T04:05:06` (UTC). The host's clock is not touched.
    #[must_use]
    pub fn rtc_base(mut self, utc: &str) -> Self {
        self.rtc_base = Some(utc.to_owned());
        self
    }

    /// Takes the machine's own clock away, as on a Pi: the kernel starts in 1970, and the first chip on the I2C bus
    /// becomes `rtc0`.
    #[must_use]
    pub fn without_own_clock(self) -> Self {
        self.kernel(&["initcall_blacklist=pl031_driver_init"])
    }

    /// Connects a network card to an emulated home network: 10.0.2.15 by DHCP, router 10.0.2.2. `forwards` are ports
    /// of 127.0.0.1 on the host and the ports of the guest that they lead to.
    #[must_use]
    pub fn network(self, forwards: &[(u16, u16)]) -> Self {
        let mut line = "user,id=net".to_owned();
        for (host, guest) in forwards {
            line.push_str(&format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}"));
        }
        // Without its boot ROM, which is in another package and of no use.
        let device = "virtio-net-pci,netdev=net,romfile=";
        self.qemu(&["-netdev", &line, "-device", device]).modules(&["virtio_net"])
    }

    /// Boots this kernel and initramfs instead of the machine's own, with exactly these words and those of
    /// [`Setup::kernel`] on the command line: a whole system, beside which the agent runs unseen. It loads its own modules,
    /// and only [`Setup::host_file`] and the like below `/testbed` reach its initramfs.
    #[must_use]
    pub fn system(self, kernel: &Path, initramfs: &Path, command_line: &str) -> Self {
        let files = BootFiles { kernel: kernel.to_owned(), initramfs: initramfs.to_owned() };
        let words: Vec<&str> = command_line.split_whitespace().collect();
        Self { system: Some(files), ..self }.kernel(&words)
    }

    /// Gives it a GPIO chip with the label and lines that `board/qemu-virt/board.toml` names, whose lines are pulled by
    /// [`crate::Machine::press`].
    #[must_use]
    pub fn gpio(mut self) -> Self {
        self.gpio = true;
        self.modules(&["configfs", GPIO_SIM])
    }

    /// Lets a machine that restarts come up again; else a restart ends QEMU.
    #[must_use]
    pub fn restarts(mut self) -> Self {
        self.restarts = true;
        self
    }

    /// Adds the hardware watchdog i6300esb; when it is not fed the machine is reset, which is a restart.
    #[must_use]
    pub fn watchdog(self) -> Self {
        self.qemu(&["-device", "i6300esb", "-action", "watchdog=reset"]).modules(&["i6300esb"])
    }

    /// What the test adds to the initramfs.
    pub(crate) fn extra_archive(&self) -> Result<Vec<u8>, TestbedError> {
        let mut archive = Archive::new();
        for (path, mode, content) in &self.files {
            match content {
                Content::Bytes(bytes) => archive.file(path, *mode, bytes),
                Content::Host(host) => archive.file(path, *mode, &read(host)?),
                Content::Link(target) => archive.link(path, target),
            }
        }
        Ok(archive.finish())
    }

    /// QEMU's command line but for the I2C bus. `folder` takes sockets and logs.
    pub(crate) fn arguments(&self, kernel: &Path, initramfs: &Path, folder: &Path) -> Vec<String> {
        let mut line: Vec<String> = Vec::new();
        let mut add = |words: &[&str]| line.extend(words.iter().map(|word| (*word).to_owned()));
        add(&["-machine", "virt", "-cpu", "cortex-a72", "-smp", "2"]);
        add(&["-m", &self.memory_mib.unwrap_or(MEMORY_MIB).to_string()]);
        add(&["-nodefaults", "-no-user-config", "-display", "none"]);
        add(if self.restarts { &[] } else { &["-no-reboot"] });
        add(&["-serial", &format!("file:{}", folder.join("serial.log").display())]);
        add(&["-qmp", &format!("unix:{},server=on,wait=off", folder.join("qmp").display())]);
        add(&["-chardev", &format!("socket,id=agent,path={}", folder.join("agent").display())]);
        add(&["-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=perch.agent"]);
        add(&["-device", "qemu-xhci,id=usb"]);
        add(&["-kernel", &kernel.to_string_lossy(), "-initrd", &initramfs.to_string_lossy()]);
        add(&["-append", &self.command_line()]);
        if let Some(base) = &self.rtc_base {
            add(&["-rtc", &format!("base={base}")]);
        }
        for (number, disk) in self.disks.iter().enumerate() {
            line.extend(disk.arguments(number));
        }
        line.extend(self.qemu_arguments.iter().cloned());
        line
    }

    fn command_line(&self) -> String {
        if self.system.is_some() {
            return format!("{} rdinit={}", self.kernel_arguments.join(" "), crate::initramfs::BESIDE);
        }
        let mut words = vec!["console=ttyAMA0".to_owned(), "panic=-1".to_owned(), "quiet".to_owned()];
        let modules = self.all_modules();
        if !modules.is_empty() {
            words.push(format!("testbed.modules={}", modules.join(",")));
        }
        words.extend(self.kernel_arguments.iter().cloned());
        words.join(" ")
    }

    fn all_modules(&self) -> Vec<String> {
        let mut modules: Vec<&str> = Vec::new();
        if self.i2c.is_some() {
            modules.extend(["xhci-pci", "i2c-tiny-usb", "i2c-dev"]);
        }
        for disk in &self.disks {
            modules.extend(match disk.attach {
                Attach::Virtio => ["virtio_blk"].as_slice(),
                Attach::Nvme => ["nvme"].as_slice(),
                Attach::Uas => ["xhci-pci", "uas", "sd_mod", "sg"].as_slice(),
                Attach::UsbStorage => ["xhci-pci", "usb-storage", "sd_mod", "sg"].as_slice(),
                Attach::SdCard => ["sdhci-pci"].as_slice(),
            });
        }
        if !self.disks.is_empty() {
            modules.extend(["crc32c_generic", "ext4"]);
        }
        modules.extend(self.modules.iter().map(String::as_str));
        let mut unique: Vec<String> = Vec::new();
        for module in modules {
            if !unique.iter().any(|known| known == module) {
                unique.push(module.to_owned());
            }
        }
        unique
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attached_hardware_brings_its_modules_once() {
        let setup = Setup::new()
            .i2c(&I2cBus::new())
            .disk(Disk::image("a.img", Attach::Uas))
            .disk(Disk::image("b.img", Attach::Nvme))
            .modules(&["nvme"]);
        let expected = "xhci-pci,i2c-tiny-usb,i2c-dev,uas,sd_mod,sg,nvme,crc32c_generic,ext4";
        assert!(setup.command_line().contains(&format!("testbed.modules={expected}")));
    }

    #[test]
    fn disks_have_ids_to_be_pulled_by() {
        let disk = Disk::node("log", Attach::UsbStorage).serial("S1");
        let line = disk.arguments(2).join(" ");
        assert_eq!(line, "-device usb-storage,drive=log,id=disk2,bus=usb.0,serial=S1");
    }
}
