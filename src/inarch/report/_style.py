"""The look of a page and of its plots: calm, with colours that colour-blind readers can tell apart.

Text has a contrast of at least 4.5 to its ground in both modes; lines differ in dash, too. The
cells of a heat map are drawn at 60% at most, so that one colour of text can be read on all of them.
"""

COLOURS = """
:root { color-scheme: light dark;
  --ground: #fbfbf9; --text: #1d2125; --soft: #5b636b; --rule: #dcdfe2; --card: #ffffff;
  --accent: #0a5fa5; --second: #b34700; --quiet: #7a838c; --cell: #0a5fa5; --below: #d06a1c;
  --warn: #fdf1dc; --mark: #fbdcb8; }
@media (prefers-color-scheme: dark) { :root {
  --ground: #14171a; --text: #e6e8ea; --soft: #a3abb3; --rule: #343a40; --card: #1b1f23;
  --accent: #6fb3ee; --second: #f0a060; --quiet: #858e97; --cell: #4088c4; --below: #a85a20;
  --warn: #3a2f1a; --mark: #6b4218; } }
"""

MARKS = """
svg text { font: 12px system-ui, sans-serif; fill: var(--text); }
svg .title { font-weight: 600; font-size: 13px; }
svg .axis { fill: var(--soft); font-size: 11px; }
svg .tiny { font-size: 9px; }
svg .middle { text-anchor: middle; } svg .end { text-anchor: end; }
svg text.quiet { fill: var(--soft); } svg text.strong { font-weight: 600; }
svg .surface { fill: var(--card); }
svg .grid { stroke: var(--rule); stroke-width: 1; } svg .zero { stroke: var(--soft); }
svg .span { stroke-width: 2; opacity: .35; }
svg .mean { stroke-width: 3; }
svg line.strong { stroke: var(--accent); } svg line.quiet { stroke: var(--quiet); }
svg circle { fill-opacity: .55; }
svg circle.strong { fill: var(--accent); } svg circle.quiet { fill: var(--quiet); }
svg .cell { fill: var(--cell); } svg .cell.below { fill: var(--below); }
svg .curve { fill: none; stroke: var(--accent); stroke-width: 2; stroke-linejoin: round; }
svg .line1 { stroke: var(--second); stroke-dasharray: 6 3; }
svg .line2 { stroke: var(--soft); stroke-dasharray: 2 3; }
svg .context { stroke: var(--rule); stroke-width: 1.5; }
svg .label0 { fill: var(--accent); } svg .label1 { fill: var(--second); }
svg .label2 { fill: var(--soft); }
svg .cell.quiet { fill: var(--quiet); fill-opacity: .55; } svg .thin { stroke-width: 1; }
svg .interval { stroke-width: 2.5; opacity: .6; } svg .cell.pale { fill-opacity: .5; }
svg .whisker { stroke: var(--text); } svg .best { stroke: var(--second); stroke-width: 2; }
svg circle.few { fill: var(--card); stroke: var(--accent); stroke-width: 1.5; fill-opacity: 1; }
"""

PAGE = """
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text);
  font: 16px/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
main { max-width: 68rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .5rem 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .25rem; }
p, li { max-width: 44rem; } ul { padding-left: 1.2rem; }
.lead { font-size: 1.08rem; } .note, figcaption, caption { color: var(--soft); font-size: .875rem; }
.warn { background: var(--warn); padding: .6rem .9rem; border-radius: .4rem; max-width: none; }
.plots { display: grid; gap: 1rem; margin: 1rem 0;
  grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); }
figure { margin: 0; padding: .8rem; background: var(--card); border: 1px solid var(--rule);
  border-radius: .5rem; min-width: 0; }
figcaption { font-weight: 600; color: var(--text); margin-bottom: .4rem; }
figure svg { display: block; width: 100%; max-width: 27rem; height: auto; }
.scroll { overflow-x: auto; margin: 1rem 0; }
.scroll:focus-visible, summary:focus-visible { outline: 2px solid var(--accent); }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding-bottom: .3rem; }
th, td { padding: .3rem .8rem .3rem 0; text-align: right; border-bottom: 1px solid var(--rule);
  overflow-wrap: normal; vertical-align: top; }
thead th { color: var(--soft); font-weight: 500; } tbody th { font-weight: 500; }
th:first-child { text-align: left; }
.words :is(th, td) { text-align: left; } .long td { overflow-wrap: anywhere; }
.whole td { white-space: nowrap; }
b.plus { color: var(--accent); } b.minus { color: var(--second); }
details { margin: 1rem 0; } summary { cursor: pointer; color: var(--accent); }
.tokens { line-height: 2.1; margin: 0; }
.tokens span { border: 1px solid var(--rule); background: var(--card); border-radius: .25rem;
  padding: .1rem .25rem; margin-right: .15rem; white-space: pre-wrap;
  font: .85rem ui-monospace, monospace; }
.posts { padding-left: 0; list-style: none; }
.posts li { max-width: 52rem; padding: .7rem 0; border-top: 1px solid var(--rule); }
.posts p { margin: 0; max-width: none; } .posts .note { margin-top: .25rem; }
.post { white-space: pre-wrap; unicode-bidi: plaintext; line-height: 1.7; }
mark { background: var(--mark); color: inherit; border-radius: .2rem; padding: .1rem 0; }
u { text-decoration: underline 2px var(--accent); text-underline-offset: .22em; }
label { cursor: pointer; } main:has(#veil:checked) .bare { display: none; }
main:has(#veil:not(:checked)) .veiled { display: none; }
@media (max-width: 32rem) { table { font-size: .78rem; } th, td { padding-right: .4rem; } }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .8rem; }
dt { color: var(--soft); font-size: .8rem; } dd { margin: 0; font-weight: 600; }
"""
