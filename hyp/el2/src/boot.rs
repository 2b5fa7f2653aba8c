// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From the firmware's jump to the first guest: read the board, plan, build, audit, start the CPUs.

pub mod entry;
pub mod power;
mod report;
mod start;

use crate::console::line;
use crate::cpu::{self, Cpu};
use crate::entropy::{Pool, Random};
use crate::memory::{self, stack_top};
use crate::system::{self, System};
use crate::{alive, console, crc, interrupts, panic, partition, read_register};
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloc::{format, vec};
use bulkhead_el2::audit::Audit;
use bulkhead_el2::tables::MapError;
use bulkhead_plan::board::{Board, Gic};
use bulkhead_plan::bundle::{self, Bundle};
use bulkhead_plan::early::{self, ConsoleKind, Outline};
use bulkhead_plan::error::Errors;
use bulkhead_plan::tree::{blob_size, blob_used};
use bulkhead_plan::{Planned, plan_board};
use bulkhead_platform::gic::v2::GicV2;
use bulkhead_platform::gic::v3::{GicV3, Redistributor, find_redistributor};
use bulkhead_platform::gic::{Controller, InterruptController};
use bulkhead_platform::mini_uart::MINI_UART;
use bulkhead_platform::pl011::PL011;
use bulkhead_types::{CpuIndex, Hpa, PAGE_SIZE, Range};

/// Why nothing was started: sentences for the console.
pub struct Refusal(Vec<String>);

impl From<Errors> for Refusal {
    fn from(errors: Errors) -> Self {
        Self(errors.0.iter().map(ToString::to_string).collect())
    }
}

impl From<&str> for Refusal {
    fn from(sentence: &str) -> Self {
        Self(vec![sentence.into()])
    }
}

impl From<String> for Refusal {
    fn from(sentence: String) -> Self {
        Self(vec![sentence])
    }
}

impl From<MapError> for Refusal {
    fn from(error: MapError) -> Self {
        Self(vec![format!("EL2's own translation tables could not be built ({error:?})")])
    }
}

/// The boot CPU comes here from `_start`, with translation off and on its first stack; and a second time, once the image
/// has moved from `loaded`, which is 0 before.
pub extern "C" fn start(tree: u64, loaded: u64) -> ! {
    // Without a tree no port is known: an address of one board is RAM, or a device, on another.
    let Some(place) = find_tree(tree) else { panic::halt_cpu() };
    if loaded == 0
        && let Some(to) = place_for_image(place)
    {
        // SAFETY: free memory, which is not of the image that runs. Translation is off, and no variable with an initial
        // value was written to.
        unsafe { entry::move_image(tree, to.0) };
    }
    if memory::start(place).is_err() {
        let outline = Outline::new(memory::constant_bytes(place));
        let why = "the board's device tree overlaps the hypervisor's image";
        early_words(outline.as_ref(), format_args!("error: {why}; nothing was started"));
        panic::halt_cpu();
    }
    let Some(outline) = Outline::new(memory::constant_bytes(place)) else { panic::halt_cpu() };
    if start_console(&outline).is_err() {
        panic::halt_cpu();
    }
    power::keep(outline);
    line(format_args!("Bulkhead {}", env!("CARGO_PKG_VERSION")));
    match boot(&outline, place) {
        Ok(system) => run(system),
        Err(refusal) => refuse(refusal),
    }
}

/// Everything between the console's first word and the first guest.
fn boot(outline: &Outline<'_>, tree: Range<Hpa>) -> Result<&'static System, Refusal> {
    // Until there is a heap, no error may need one.
    let bundle_place = outline.bundle();
    let (image, working) = take_working_memory(outline, tree);
    let bundle_place = bundle_place.ok_or(
        "no bundle: pass one as the initial ramdisk (/chosen/linux,initrd-start and -end in the board's tree)",
    )?;
    if !outline.is_memory(&bundle_place) {
        return Err(Refusal(vec![format!(
            "the initial ramdisk lies beyond the board's memory ({bundle_place}); \
             check /chosen/linux,initrd-start and -end, which the boot loader writes"
        )]));
    }
    let (bundle_place, bundle) = read_bundle(outline, bundle_place)?;
    let bundle_bytes = memory::constant_bytes(bundle_place);
    let bundle = bundle.lying_at(bundle_place.start());
    if bundle_bytes.len() >= 1 << 20 && bundle.is_slow_to_check() {
        line(format_args!("bundle: {} MiB, with SHA hashes to check", bundle_bytes.len() >> 20));
    }
    let taken = vec![
        (image, "the hypervisor's image"),
        (working, "the hypervisor's working memory"),
        (tree, "the board's tree"),
        (bundle_place, "the bundle"),
    ];
    let Planned { board, plan } = plan_board(memory::constant_bytes(tree), &bundle, taken)?;
    report::describe(&board, &plan);

    let controller = start_interrupt_controller(&board)?;
    let (power, watchdog) = power::take(board.psci, &plan)?;
    let system = system::publish(System {
        cpus: list_cpus(&board, &plan, working),
        controller,
        maintenance: board.gic.maintenance(),
        timer: board.timer.hypervisor,
        kept: [Some(board.gic.maintenance()), board.timer.hypervisor]
            .into_iter()
            .flatten()
            .fold(0xffff, |kept, id| kept | 1_u32.wrapping_shl(id.get())),
        console: board.console.as_ref().and_then(|console| console.interrupt),
        policy: plan.policy,
        firmware: power::firmware(board.psci),
        power,
        watchdog,
        random: Random::new(power::firmware(board.psci)),
        bundle: bundle_bytes,
        entropy: Pool::new(&[&board.entropy.rng_seed, &board.entropy.kaslr_seed]),
        partitions: partition::build(&board, plan, controller.lines())?,
    });
    memory::prepare_window(system.cpus.len())?;
    audit(system, &board.gic)?;
    Ok(system)
}

/// Starts the other CPUs, then the guests. From here on nothing is allocated.
fn run(system: &'static System) -> ! {
    let boot_mpidr = bulkhead_types::Mpidr::from_register(read_register!("mpidr_el1"));
    let Some(this) = system.cpus.iter().find(|cpu| cpu.mpidr == boot_mpidr) else {
        refuse(Refusal::from("the boot CPU is not in the board's tree (/cpus, reg)"));
    };
    let names = system.partitions.iter().map(|partition| partition.name);
    console::open_channels(names, system.policy.escape_key);
    report::memory();
    memory::seal();
    cpu::enter(system, this);
    interrupts::open_console(system, this);
    start::others(system, this);
    alive::announce(system);
    console::open_input(system);
    for partition in &system.partitions {
        if partition.has_every_cpu(system) {
            partition.start_on_its_cpu(system);
        } else {
            partition.give_up();
        }
    }
    alive::start(system);
    cpu::abandon()
}

/// Prints why nothing starts, and stops the board, without the heap.
pub fn refuse_early(sentence: core::fmt::Arguments<'_>) -> ! {
    line(format_args!("error: {sentence}"));
    line(format_args!("refused: 1 error; nothing was started"));
    panic::halt_board()
}

/// Prints why nothing starts, and stops the board.
fn refuse(Refusal(sentences): Refusal) -> ! {
    for sentence in &sentences {
        line(format_args!("error: {sentence}"));
    }
    let noun = if sentences.len() == 1 { "error" } else { "errors" };
    line(format_args!("refused: {} {noun}; nothing was started", sentences.len()));
    panic::halt_board()
}

/// The image came up at EL1 or EL3, or at an EL2 that is always a host. Translation is off; all that can be done is to
/// say so.
pub extern "C" fn wrong_level(tree: u64) -> ! {
    let level = read_register!("currentel") >> 2 & 0b11;
    let place = find_tree(tree).map(memory::constant_bytes);
    let outline = place.and_then(Outline::new);
    let why = match level {
        2 => "this CPU is a host at EL2 always: HCR_EL2.E2H cannot be cleared (no FEAT_E2H0)",
        _ => "a hypervisor must be entered at EL2 (QEMU: -machine virt,virtualization=on)",
    };
    let what = format_args!("error: entered at EL{level}; {why}\nrefused: 1 error; nothing was started");
    early_words(outline.as_ref(), what);
    // EL3 has nobody to call.
    if let (1, Some(outline)) = (level, &outline) {
        power::off_untranslated(outline);
    }
    panic::halt_cpu()
}

/// The tree at `address`, as long as its header says, if there is one.
fn find_tree(address: u64) -> Option<Range<Hpa>> {
    // The boot protocol has it aligned to 8 bytes.
    if address == 0 || !address.is_multiple_of(8) {
        return None;
    }
    let header = Range::<Hpa>::new(Hpa(address), 40)?;
    // The boot protocol does not promise that the tree is in memory rather than in a cache.
    memory::clean(address, header.size());
    let bytes = memory::constant_bytes(header);
    memory::clean(address, blob_used(bytes)? as u64);
    Range::<Hpa>::new(Hpa(address), blob_size(bytes)? as u64)
}

/// Where the image goes before anything else; none if it stays where the firmware put it, because there is no room, or no
/// tree that says so, which is refused later.
fn place_for_image(tree: Range<Hpa>) -> Option<Hpa> {
    let outline = Outline::new(memory::constant_bytes(tree))?;
    Some(outline.place_for_image(image_range()?, tree)?.start())
}

/// The physical memory of our own image.
fn image_range() -> Option<Range<Hpa>> {
    let image = entry::layout();
    Range::<Hpa>::new(Hpa(image.text), image.end.checked_sub(image.text)?)
}

/// Prints on the tree's console, if it names one, while translation is off.
fn early_words(outline: Option<&Outline<'_>>, text: core::fmt::Arguments<'_>) {
    if let Some(place) = outline.and_then(Outline::console).map(place_of) {
        // SAFETY: translation is off, so the registers can be reached; nothing else uses them.
        unsafe { console::early_words(place, text) };
    }
}

/// Makes the tree's console the log's, if it names one.
fn start_console(outline: &Outline<'_>) -> Result<(), MapError> {
    let Some(place) = outline.console().map(place_of) else { return Ok(()) };
    // No port has more registers than fit into the page that is mapped at least.
    memory::map_device(Range::<Hpa>::new(Hpa(place.1 as u64), 1).ok_or(MapError::OutOfRange)?)?;
    // SAFETY: mapped just now as Device memory, for ever; this is the only call.
    unsafe { console::start(place) };
    Ok(())
}

/// Which driver the tree's console takes, and where its registers are.
fn place_of(console: early::Console) -> console::Place {
    let model = match console.kind {
        ConsoleKind::Pl011 => &PL011,
        ConsoleKind::MiniUart => &MINI_UART,
    };
    (model, console.registers.start().0 as usize)
}

/// Finds memory for stacks and heap, and starts the heap. Returns where the image is and what was found.
fn take_working_memory(outline: &Outline<'_>, tree: Range<Hpa>) -> (Range<Hpa>, Range<Hpa>) {
    let cpus = outline.cpu_count().max(1);
    let size = outline.working_size();
    let Some(image) = image_range() else {
        refuse_early(format_args!("the hypervisor's image lies at the end of the address space"));
    };
    let taken = [image, tree, outline.room_of_bundle().unwrap_or(image)];
    let Some(working) = outline.free_range(&taken, size, PAGE_SIZE) else {
        refuse_early(format_args!(
            "too little memory: the hypervisor needs {} KiB in one piece, and the board has not so much free",
            size >> 10
        ));
    };
    if let Err(error) = memory::start_heap(working, cpus) {
        refuse_early(format_args!("the hypervisor's working memory cannot be mapped ({error:?})"));
    }
    (image, working)
}

/// Maps the bundle and reads what is in it. `/chosen/linux,initrd-end` is the byte behind the last one, but U-Boot's
/// `fdt chosen` writes the last one: where the bundle is cut short, by its own word by one byte, and memory is there, the
/// bundle is right.
fn read_bundle(outline: &Outline<'_>, place: Range<Hpa>) -> Result<(Range<Hpa>, Bundle<'static>), Refusal> {
    let bytes = memory::map_constant(place)?;
    let errors = match Bundle::parse(bytes, crc::best()) {
        Ok(bundle) => return Ok((place, bundle)),
        Err(errors) => errors,
    };
    let longer = outline.room_of_bundle().filter(|longer| outline.is_memory(longer));
    let longer = longer.filter(|longer| bundle::size(bytes) == usize::try_from(longer.size()).ok());
    let (Some(longer), Some(last)) = (longer, Range::<Hpa>::new(place.end(), 1)) else {
        return Err(errors.into());
    };
    memory::map_constant(last)?;
    Ok((longer, Bundle::parse(memory::constant_bytes(longer), crc::best())?))
}

/// Maps and resets the interrupt controller.
fn start_interrupt_controller(board: &Board) -> Result<InterruptController, Refusal> {
    match &board.gic {
        Gic::V2 { distributor, cpu_interface, hypervisor_interface, .. } => {
            let gic = GicV2::new(
                memory::map_device(*distributor)?,
                memory::map_device(*cpu_interface)?,
                memory::map_device(*hypervisor_interface)?,
            );
            Ok(InterruptController::V2(gic))
        }
        Gic::V3 { distributor, redistributors, stride, .. } => {
            let mut regions = Vec::with_capacity(redistributors.len());
            for region in redistributors {
                regions.push((memory::map_device(*region)?, region.size() as usize));
            }
            let mut found: Vec<Redistributor> = Vec::with_capacity(board.cpus.len());
            for cpu in &board.cpus {
                found.push(
                    find_redistributor(&regions, stride.map(|stride| stride as usize), cpu.mpidr)
                        .ok_or_else(|| {
                            Refusal(vec![format!(
                                "{}: no redistributor of the interrupt controller has its affinity ({:#x})",
                                cpu.path,
                                cpu.mpidr.affinity()
                            )])
                        })?,
                );
            }
            let distributor = memory::map_device(*distributor)?;
            Ok(InterruptController::V3(GicV3::new(distributor, Box::leak(found.into_boxed_slice()))))
        }
    }
}

/// The CPUs, each with its stack and its owner.
fn list_cpus(board: &Board, plan: &bulkhead_plan::plan::Plan, working: Range<Hpa>) -> Vec<Cpu> {
    let owner = |index: CpuIndex| {
        plan.partitions.iter().enumerate().find_map(|(partition, claims)| {
            claims.cpus.iter().position(|&cpu| cpu == index).map(|vcpu| (partition, vcpu))
        })
    };
    let cpus = board.cpus.iter().zip(0_u16..);
    cpus.map(|(cpu, index)| {
        let place = CpuIndex(index);
        Cpu::new(place, cpu.mpidr, cpu.start, stack_top(working, usize::from(index)), owner(place))
    })
    .collect()
}

/// Walks every finished table, EL2's and the partitions', and refuses if two owners reach one frame.
fn audit(system: &System, gic: &Gic) -> Result<(), Refusal> {
    let image = entry::layout();
    let code = image.rodata.checked_sub(image.text).and_then(|size| Range::<Hpa>::new(Hpa(image.text), size));
    let mut audit = Audit::new(code.ok_or_else(|| Refusal::from("the hypervisor's code is nowhere"))?);
    if let Gic::V2 { virtual_cpu_interface, .. } = gic {
        audit.banked(*virtual_cpu_interface);
    }
    for partition in &system.partitions {
        partition.lent().for_each(|frames| audit.lend(frames, partition.id));
    }
    memory::leaves(&mut |leaf| audit.stage1(leaf));
    for partition in &system.partitions {
        partition.leaves(&mut |leaf| audit.stage2(leaf, partition.id));
    }
    audit
        .finish()
        .map_err(|finding| Refusal(vec![format!("the audit of the translation tables failed: {finding}")]))
}
