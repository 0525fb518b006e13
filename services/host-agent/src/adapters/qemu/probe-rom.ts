/**
 * A program of 200 bytes in the firmware's place that exercises what every guest needs: protected mode, IRET,
 * paging, long mode, SSE. At the end it writes 42 to QEMU's debug-exit port. Its source, for GNU as:
 *
 *           .code16                              orl    $0x620, %eax        # PAE, SSE
 *   start:  cli                                  movl   %eax, %cr4
 *           movw   $0xf000, %ax                  movl   $0xc0000080, %ecx   # EFER: long mode
 *           lgdtl  %cs:0xffa0                    rdmsr
 *           movl   %cr0, %eax                    orl    $0x100, %eax
 *           orb    $1, %al                       wrmsr
 *           movl   %eax, %cr0                    movl   %cr0, %eax
 *           ljmpl  $8, $prot                     orl    $0x80000000, %eax   # paging
 *           .code32                              movl   %eax, %cr0
 *   prot:   movw   $16, %ax                      ljmpl  $24, $long
 *           movw   %ax, %ds                      .code64
 *           movw   %ax, %es              long:   movq   $42, %rax
 *           movw   %ax, %ss                      movq   %rax, %xmm0
 *           movl   $0x8000, %esp                 paddq  %xmm0, %xmm0
 *           pushfl                               movq   %xmm0, %rax
 *           pushl  $8                            shrl   $1, %eax
 *           pushl  $back                         outb   %al, $0xf4
 *           iretl                        1:      hlt
 *   back:   movl   $0x2003, 0x1000               jmp    1b
 *           movl   $0x3003, 0x2000               # at 0xa0: limit and base of the table below
 *           movl   $0x83, 0x3000         gdt:    .quad  0, 0x00cf9b000000ffff
 *           movl   $0x1000, %eax                 .quad  0x00cf93000000ffff
 *           movl   %eax, %cr3                    .quad  0x00af9b000000ffff
 *           movl   %cr4, %eax
 */

const program =
  '+rgA8C5mDwEWoP8PIMAMAQ8iwGbqG/8PAAgAZrgQAI7YjsCO0LwAgAAAnGoIaDP/DwDPxwUAEAAAAyAAAMcFACAAAAMwAADHBQAwAACDAAAAuAAQAAAP' +
  'ItgPIOANIAYAAA8i4LmAAADADzINAAEAAA8wDyDADQAAAIAPIsDqhP8PABgASMfAKgAAAGZID27AZg/UwGZID37A0ejm9PTr/R8AqP8PAGaQAAAAAAAA' +
  'AAD//wAAAJvPAP//AAAAk88A//8AAACbrwA=';

/** QEMU's debug-exit device ends it with twice the value and one. */
export const romExitCode = 42 * 2 + 1;

/** 64 KiB: the program at 0xff00, and at the reset vector a jump to it. */
export function probeRom(): Buffer {
  const rom = Buffer.alloc(64 * 1024, 0xf4);
  Buffer.from(program, 'base64').copy(rom, 0xff00);
  rom.set([0xe9, 0x0d, 0xff], 0xfff0);
  return rom;
}
