"""Draw a figure of phantom films: all views, findings, devices and scanners, a caption under each.

python tests/bench/phantom_sheet.py phantom.png
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from mmaudit.datasets.phantom._film import draw_film
from mmaudit.datasets.phantom._markers import text_width, write
from mmaudit.datasets.phantom._record import SITES, Body, Device, Film, Finding

HIM = Body("M", 61.0, 178.0, 25.5, 0.2, -0.1, 0.2, 0.2, -0.2, (21, 3))
HER = Body("F", 46.0, 165.0, 23.0, -0.2, 0.1, 0.0, -0.3, 0.1, (21, 4))
OLD = Body("M", 78.0, 171.0, 27.5, 0.4, 0.9, 0.3, 1.0, 0.3, (21, 5))
SPOT = (0.4, 0.2, -0.3)
CELL_PX, GAP_PX, CAPTION_PX, LETTER_PX = 222, 6, 24, 10


def film(caption, view="PA", body=HIM, site="North", scanner=None, findings=(), devices=(), **changes):
    """Return (caption, film)."""
    portable = view.startswith("AP")
    machine = scanner or (SITES[site].mobile if portable else SITES[site].fixed)[0]
    seed = (77, sum(caption.encode()))
    breath = 0.62 if portable else 0.85
    made = Film(body, view, portable, site, machine, tuple(findings), tuple(devices), breath, 0, 0, (0, 0), 0, seed)
    return caption, replace(made, **changes)


def films() -> list[tuple[str, Film]]:
    """Return the films of the sheet with their captions, row by row."""
    posed = {"yaw_deg": 2.0, "tilt_deg": 1.2, "shift_cm": (0.5, 0.3)}
    tubes = [
        Device("endotracheal tube", "", (0.1, 0.1, 0.2)),
        Device("nasogastric tube", "", SPOT),
        Device("central line", "right", SPOT),
        Device("ECG leads", "", SPOT),
    ]
    return [
        film("ASTER 500 PA"),
        film("LATERAL", "lateral"),
        film("ASTER 700 PA", body=HER, scanner="Aster 700"),
        film("LATERAL", "lateral", body=HER, site="Harbour"),
        film("BOREAL DR PA", body=OLD, site="Harbour"),
        film("CIRRUS CR PA", body=HER, site="Hill"),
        film("MOBILE M1 AP", "AP", **posed),
        #
        film("MOBILE M1 AP SUPINE", "AP supine", OLD, devices=tubes[:1], **posed),
        film("MOBILE M2 AP SUPINE", "AP supine", HER, "Hill", devices=tubes[2:], **posed),
        film("MOBILE M3 AP", "AP", HIM, "Harbour", "Mobile M3", devices=tubes[2:3], **posed),
        film("PLEURAL EFFUSION", body=HIM, findings=[Finding("pleural effusion", "right", 0.65)]),
        film("EFFUSION SUPINE", "AP supine", HIM, findings=[Finding("pleural effusion", "right", 0.75)], **posed),
        film("EFFUSION LATERAL", "lateral", HIM, findings=[Finding("pleural effusion", "right", 0.65)]),
        film("PNEUMOTHORAX", body=HER, scanner="Aster 700", findings=[Finding("pneumothorax", "left", 0.6)]),
        #
        film("CARDIOMEGALY", body=OLD, site="Harbour", findings=[Finding("cardiomegaly", "", 0.8)]),
        film("EDEMA", "AP", OLD, findings=[Finding("edema", "", 0.7), Finding("cardiomegaly", "", 0.4)], **posed),
        film("CONSOLIDATION", body=HER, findings=[Finding("consolidation", "right", 0.7, "upper", SPOT)]),
        film("ATELECTASIS", body=HIM, findings=[Finding("atelectasis", "left", 0.7, "lower", SPOT)]),
        film("NODULE", body=OLD, scanner="Aster 700", findings=[Finding("nodule", "right", 0.75, "middle", SPOT)]),
        film("FRACTURE", body=HIM, scanner="Aster 700", findings=[Finding("fracture", "left", 0.9, "middle", SPOT)]),
        film("CHEST TUBE", "AP", HIM, devices=[Device("chest tube", "left", SPOT)]),
        #
        film("ENDOTRACHEAL TUBE", "AP", HER, "Harbour", devices=tubes[:1]),
        film("IN RIGHT BRONCHUS", "AP", HER, devices=[Device("endotracheal tube", "", SPOT, True)]),
        film("NASOGASTRIC TUBE", "AP", HIM, "Harbour", "Mobile M3", devices=tubes[1:2]),
        film("CENTRAL LINE", "AP", OLD, devices=[Device("central line", "left", (-0.5, 0.1, 0.2))]),
        film("ECG LEADS", "AP", HER, "Harbour", "Mobile M3", devices=tubes[3:]),
        film("PACEMAKER", body=OLD, devices=[Device("pacemaker", "left", SPOT)]),
        film(
            "STERNAL WIRES. CLIPS",
            body=OLD,
            site="Harbour",
            devices=[Device("sternal wires", "", SPOT), Device("surgical clips", "left", SPOT)],
        ),
    ]


def contact_sheet(path: str | Path, *, columns: int = 7) -> Path:
    """Write the sheet as a PNG file of about 1,600 pixels in width; return its path.

    Films are drawn at twice their size on the sheet and averaged, as a viewer shows them.
    """
    shown = films()
    n_rows = -(-len(shown) // columns)
    step_x, step_y = CELL_PX + GAP_PX, CELL_PX + CAPTION_PX
    sheet = np.zeros((n_rows * step_y + GAP_PX, columns * step_x + GAP_PX))
    sheet += 0.06
    for place, (caption, drawn) in enumerate(shown):
        top, left = GAP_PX + place // columns * step_y, GAP_PX + place % columns * step_x
        whole = draw_film(drawn, 2 * CELL_PX) / 255
        small = whole.reshape(CELL_PX, 2, CELL_PX, 2).mean(axis=(1, 3))
        sheet[top : top + CELL_PX, left : left + CELL_PX] = small
        room = sheet[top + CELL_PX : top + step_y - 1, left : left + CELL_PX]
        letters = np.zeros_like(room)
        middle = (CELL_PX - text_width(caption, LETTER_PX)) / 2
        write(letters, caption, middle, (CAPTION_PX - GAP_PX - LETTER_PX) / 2 + 1, LETTER_PX, weight=0.14)
        room += letters * (0.85 - room)
    # 64 greys are told apart by nobody in a small picture, and halve the file.
    Image.fromarray((np.rint(sheet * 63) * (255 / 63)).astype(np.uint8)).save(path, optimize=True)
    return Path(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", help="PNG file to write")
    written = contact_sheet(parser.parse_args().path)
    print(f"{written}: {written.stat().st_size / 1024:.0f} kB")
