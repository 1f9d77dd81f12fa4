"""How the report looks: light, for a screen and for A4 paper. Shades are kept in print, where they carry counts."""

from __future__ import annotations

STYLE = """
@page { size: A4; margin: 18mm 16mm; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 40px 24px 64px; max-width: 820px; background: #fff; color: #1b1c1a;
  font: 14px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
h1 { margin: 0; font-size: 15px; font-weight: 600; overflow-wrap: anywhere; }
.date, .hint, figcaption, small { color: #5d5c56; }
.date { margin: 2px 0 28px; }
.headline { margin: 0 0 10px; font-size: 30px; line-height: 1.2; font-weight: 560; letter-spacing: -0.02em; }
.headline b { color: #0b6e5a; }
.lead { max-width: 62ch; margin: 0 0 8px; font-size: 16px; }
.note { margin: 18px 0 0; padding: 10px 14px; border-left: 3px solid #0b6e5a; background: #f3f2ee; white-space: pre-wrap;
  overflow-wrap: anywhere; }
h2 { margin: 36px 0 10px; font-size: 17px; font-weight: 620; break-after: avoid; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { padding: 5px 10px 5px 0; border-bottom: 1px solid #e6e4df; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
th { font-weight: 500; }
thead th { color: #5d5c56; }
tr { break-inside: avoid; }
.num { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.bar { display: inline-block; width: 90px; height: 8px; border-radius: 4px; background: #e6e4df; print-color-adjust: exact;
  -webkit-print-color-adjust: exact; }
.bar i { display: block; height: 8px; border-radius: 4px; background: #0b6e5a;
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.beside { max-width: 460px; }
.wide { overflow-x: auto; }
.confusion { width: auto; }
.confusion td { min-width: 34px; padding: 5px 6px; border: 1px solid #e6e4df; text-align: center; font-variant-numeric: tabular-nums;
  print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.confusion thead td { border: 0; }
.confusion thead th { height: 96px; padding: 4px; vertical-align: bottom; border: 0; }
.confusion thead span { writing-mode: vertical-rl; rotate: 180deg; max-height: 92px; overflow: hidden; }
.confusion tbody th { padding-right: 12px; white-space: nowrap; max-width: 180px; overflow: hidden; text-overflow: ellipsis; }
.shots { display: grid; grid-template-columns: repeat(auto-fill, minmax(118px, 1fr)); gap: 14px; }
.shots figure { margin: 0; break-inside: avoid; min-width: 0; }
.shots img, .shots .gone { display: block; width: 100%; aspect-ratio: 1; object-fit: cover; border-radius: 6px; background: #f3f2ee; }
.shots .gone { display: grid; place-items: center; padding: 8px; color: #5d5c56; font-size: 12px; text-align: center; }
figcaption { margin-top: 4px; font-size: 12px; overflow-wrap: anywhere; }
figcaption b { color: #a8321f; font-weight: 550; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 20px; }
.figures figure { margin: 0; break-inside: avoid; }
.figures figcaption { margin: 0 0 6px; font-size: 13px; color: #1b1c1a; }
.figures svg { width: 100%; height: auto; }
ul { margin: 0; padding-left: 20px; }
code { font: 12px ui-monospace, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
footer { margin-top: 40px; padding-top: 12px; border-top: 1px solid #e6e4df; color: #5d5c56; font-size: 12px; }
@media print { body { padding: 0; max-width: none; } .beside { max-width: 460px; }
.wide { overflow: visible; } }
"""
