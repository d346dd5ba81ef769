"""What a hostile server may say wherever it can say anything."""

UNFIT = frozenset(
    chr(code)
    for codes in (
        range(0x20),  # C0: ESC, CR, LF
        range(0x7F, 0xA0),  # DEL and C1: CSI in one character, NEL
        (0x61C, 0x200B, 0x200C, 0x200D, 0x200E, 0x200F, 0x2028, 0x2029, 0xFEFF),
        range(0x202A, 0x202F),
        range(0x2066, 0x206A),
        (0xD800, 0xDFFF, 0xE0041),
    )
    for code in codes
)
"""Characters that a terminal obeys, that end a line, turn letters around, or cannot be seen or encoded."""

SAID = (
    "\x1b[2J\x1b[1;1Hroot@host:~# ",
    "\x1b]0;title\x07\x9b31mred",
    "first\n12:00:00 CRITICAL: forged",
    "first\r\n12:00:00 CRITICAL: forged\x0b\x0c\x85\u2028\u2029",
    "\u202egnp.exe\u2066\u2069\u200e\u200f\u061c",
    "zero\u200bwidth\u200d\ufeff",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "\"'><b>&amp;&#x3c;</title></dd><!-- -- >",
    "[red]markup[/red] [/] [link=file:///etc/passwd]x[/link] [bold",
    'quote " backslash \\ brace } {label="x"} 1\n# HELP forged',
    "$\\frac{1}{0}$ $ $$ \\$ _underscore ^{x} $\\notacommand{$",
    '=HYPERLINK("http://x","y")',
    "+1-1@SUM(A1)",
    "%s %d %(name)s {0} {name}",
    "\x00",
    "",
    " ",
    "x" * 5000,
    "\U0001d54f" * 70_000,
)
"""What UTF-8 and JSON can carry."""
HOSTILE = (*SAID, "lone \ud800 and \udfff surrogates")
