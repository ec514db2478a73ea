"""Molecules: in the files that chemists keep them in, and from SMILES and RDKit where that is installed."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from ..limits import MAX_TEXT_BYTES
from ..values import Reference, Unstorable
from .base import Blobs, Encodable, Media
from .content import Content, Whole, is_path, take_bytes, take_file

_FILES = ("pdb", "pqr", "mmcif", "mcif", "cif", "sdf", "sd", "gro", "mol2", "mmtf")


class Molecule(Media):
    """A molecule.

    Args:
        data_or_path: The path of a file (`.pdb`, `.sdf`, `.cif`, `.mol2`, ...), or an open file (then `file_type` says
            what it is), or a molecule of RDKit's.
        caption: A few words under it.
        kwargs: `file_type`, for an open file.

    Example:
        run.log({"ethanol": tracker.Molecule.from_smiles("CCO")})
    """

    SUPPORTED_TYPES = frozenset(_FILES)
    _type = "molecule-file"

    def __init__(self, data_or_path: Any, caption: str | None = None, **kwargs: Any) -> None:
        self._take(lambda: _taken(data_or_path, caption, kwargs.get("file_type")))

    @classmethod
    def from_rdkit(
        cls,
        data_or_path: Any,
        caption: str | None = None,
        convert_to_3d_and_optimize: bool = True,
        mmff_optimize_molecule_max_iterations: int = 200,
    ) -> Molecule:
        """Make one of a molecule of RDKit's, or of a file that RDKit reads.

        Args:
            data_or_path: An `rdkit.Chem.Mol`, or the path of a `.mol`, `.pdb` or `.sdf` file.
            caption: A few words under it.
            convert_to_3d_and_optimize: Add hydrogens and find places for the atoms.
            mmff_optimize_molecule_max_iterations: How long to look for them.
        """
        molecule = cls.__new__(cls)
        rounds = mmff_optimize_molecule_max_iterations if convert_to_3d_and_optimize else 0
        molecule._take(lambda: _Rdkit(_read(data_or_path), rounds, caption))
        return molecule

    @classmethod
    def from_smiles(
        cls,
        data: str,
        caption: str | None = None,
        sanitize: bool = True,
        convert_to_3d_and_optimize: bool = True,
        mmff_optimize_molecule_max_iterations: int = 200,
    ) -> Molecule:
        """Make one of a SMILES text, with RDKit.

        Args:
            data: For example "CCO".
            caption: A few words under it.
            sanitize: Let RDKit check valences and aromatic rings.
            convert_to_3d_and_optimize: Add hydrogens and find places for the atoms.
            mmff_optimize_molecule_max_iterations: How long to look for them.
        """
        molecule = cls.__new__(cls)
        rounds = mmff_optimize_molecule_max_iterations if convert_to_3d_and_optimize else 0
        molecule._take(lambda: _Rdkit(_of_smiles(data, sanitize), rounds, caption or str(data)))
        return molecule


class _Rdkit(Encodable):
    def __init__(self, molecule: Any, rounds: int, caption: str | None) -> None:
        self.molecule = molecule
        self.rounds = rounds
        self.facts = {} if caption is None else {"caption": str(caption)}

    def encode(self, blobs: Blobs) -> Reference:
        chem = _chem()
        molecule = self.molecule
        if self.rounds:
            places: Any = import_module("rdkit.Chem.AllChem")
            molecule = chem.AddHs(molecule)
            if places.EmbedMolecule(molecule, randomSeed=1) != 0:  # the same molecule is the same bytes
                raise Unstorable("is a molecule for whose atoms RDKit finds no places")
            if places.MMFFHasAllMoleculeParams(molecule):
                places.MMFFOptimizeMolecule(molecule, maxIters=self.rounds)
        data = chem.MolToMolBlock(molecule).encode() + b"$$$$\n"
        return Reference(_type="molecule-file", **Content(data).store(blobs), format="sdf", **self.facts)


def _taken(value: Any, caption: str | None, file_type: str | None) -> Encodable:
    if hasattr(value, "GetNumAtoms"):
        return _Rdkit(_read(value), 0, caption)
    if not is_path(value) and not hasattr(value, "read"):
        raise Unstorable(f"is a Molecule of a {type(value).__name__}; a path, an open file or RDKit's Mol is needed")
    name = os.fspath(value) if is_path(value) else str(getattr(value, "name", ""))
    kind = (file_type or name.rpartition(".")[2]).lower().lstrip(".")
    if kind not in _FILES:
        raise Unstorable(
            f"has the type {kind[-40:]!r}, which is none of {', '.join(_FILES)}. For SMILES, use Molecule.from_smiles"
        )
    content = take_file(value, MAX_TEXT_BYTES) if is_path(value) else take_bytes(value, MAX_TEXT_BYTES)
    facts = {} if caption is None else {"caption": str(caption)}
    return Whole(content, _type="molecule-file", format=kind, **facts)


def _read(value: Any) -> Any:
    chem = _chem()
    if hasattr(value, "GetNumAtoms"):
        return chem.Mol(value)  # a copy: molecules can be edited
    name = os.fspath(value) if is_path(value) else ""
    readers = {"mol": chem.MolFromMolFile, "pdb": chem.MolFromPDBFile, "sdf": chem.MolFromMolFile}
    read = readers.get(name.rpartition(".")[2].lower())
    if read is None:
        raise Unstorable(f"is {str(value)[:80]!r}, which is neither RDKit's Mol nor the path of a mol, pdb or sdf file")
    take_file(name, MAX_TEXT_BYTES)  # says what is wrong with a file that cannot be read
    molecule = read(name)
    if molecule is None:
        raise Unstorable(f"names the file {name[:200]!r}, which RDKit cannot read")
    return molecule


def _of_smiles(data: Any, sanitize: bool) -> Any:
    molecule = _chem().MolFromSmiles(str(data), sanitize=sanitize)
    if molecule is None:
        raise Unstorable(f"is {str(data)[:80]!r}, which is no SMILES that RDKit can read")
    return molecule


def _chem() -> Any:
    try:
        from rdkit import Chem
    except ImportError:
        raise Unstorable("needs RDKit. Install it: pip install rdkit") from None
    return Chem
