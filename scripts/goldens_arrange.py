"""The golden cases of the families arrange, einsum and resize, and of creation; `goldens.py` runs them."""


def cases(case, randn, integers):
    """Record all of them with the helpers of `goldens.py`."""

    def one(name, call, *shape):
        case(name, call, x=randn(name, *shape))

    def more(name, call, *shapes):
        """Operands x, w and b of these shapes."""
        case(name, call, **{role: randn(f"{name}/{role}", *shape) for role, shape in zip("xwb", shapes)})

    # --- arrange
    one("split_third", "x.split(2, 1)[2]", 3, 5, 2)
    one("split_sizes_second", "x.split([1, 3, 1], 1)[1]", 3, 5, 2)
    one("chunk_last", "x.chunk(4, -1)[-1]", 3, 6)
    one("unbind_second", "x.unbind(1)[1]", 3, 4, 2)
    one("flip_two", "x.flip(0, -1)", 3, 4, 5)
    one("roll_forward", "x.roll(2, 1)", 3, 5)
    one("roll_back", "x.roll(-9, 0)", 4, 3)
    one("movedim_last", "x.movedim(0, -1)", 2, 3, 4)
    one("repeat_leading", "x.repeat(2, 3, 1, 2)", 2, 1, 3)
    one("tile_last", "x.tile(3)", 2, 3)
    one("repeat_interleave_middle", "x.repeat_interleave(3, 1)", 2, 3, 2)
    one("unfold_overlapping", "x.unfold(1, 3, 1)", 2, 6, 2)
    one("unfold_gaps", "x.unfold(-1, 2, 3)", 2, 9)
    one("diagonal_above", "x.diagonal(1, 0, 2)", 3, 2, 5)
    one("diagonal_below", "x.diagonal(-2, -1, 0)", 3, 2, 5)
    one("tril_above", "x.tril(1)", 2, 4, 5)
    one("triu_below", "x.triu(-1)", 2, 5, 4)
    more("meshgrid_ij", "torch.stack(torch.meshgrid(x, w, b, indexing='ij'))", (3,), (2,), (4,))
    more("meshgrid_xy", "torch.stack(torch.meshgrid(x, w, b, indexing='xy'))", (3,), (2,), (4,))
    for mode in ("reflect", "replicate", "circular"):
        one(f"pad_{mode}", f"F.pad(x, (3, 1, 0, 2), mode='{mode}')", 2, 3, 4, 5)

    # --- creation
    one("linspace_seven", "x * torch.linspace(-1.5, 2, 7)", 7)
    one("arange_step_down", "x * torch.arange(2.5, -1, -0.5)", 7)
    one("eye_wide", "x * torch.eye(3, 5)", 3, 5)

    # --- einsum
    more("einsum_bmm", "torch.einsum('bij,bjk->bik', x, w)", (2, 3, 4), (2, 4, 5))
    more("einsum_attention", "torch.einsum('bqhd,bkhd->bhqk', x, w)", (2, 3, 2, 4), (2, 5, 2, 4))
    more("einsum_implicit", "torch.einsum('ij,jk', x, w)", (3, 4), (4, 2))
    more("einsum_implicit_order", "torch.einsum('ba,Cb', x, w)", (3, 4), (2, 3))
    more("einsum_rows", "torch.einsum('ij,ij->i', x, w)", (3, 4), (3, 4))
    more("einsum_outer", "torch.einsum('ij,kl->ljik', x, w)", (2, 3), (4, 2))
    more("einsum_chain", "torch.einsum('ij,jk,kl->li', x, w, b)", (3, 4), (4, 5), (5, 2))
    more("einsum_bilinear", "torch.einsum('bn,anm,bm->ba', x, w, b)", (2, 3), (4, 3, 5), (2, 5))
    more("einsum_ellipsis", "torch.einsum('...ij,...jk->...ik', x, w)", (2, 1, 3, 4), (5, 4, 2))
    more("einsum_ellipsis_summed", "torch.einsum('i...,i...->i', x, w)", (3, 2, 4), (3, 1, 4))
    more("einsum_ones", "torch.einsum('ij,jk->ik', x, w)", (3, 1), (4, 5))
    one("einsum_diagonal", "torch.einsum('iji->ij', x)", 3, 4, 3)
    one("einsum_trace", "torch.einsum('ii', x)", 4, 4)
    one("einsum_columns", "torch.einsum('ijk->kj', x)", 2, 3, 4)

    # --- resize
    one("nearest_up", "F.interpolate(x, size=(6, 12), mode='nearest')", 2, 2, 3, 4)
    one("nearest_down", "F.interpolate(x, size=(3, 2), mode='nearest')", 1, 2, 9, 8)
    one("nearest_between", "F.interpolate(x, size=(7, 3), mode='nearest')", 1, 2, 5, 4)
    for corners in (False, True):
        label = "corners" if corners else "halves"
        for name, size, shape in [
            ("up", (6, 8), (2, 2, 3, 4)),
            ("down", (2, 3), (1, 2, 5, 8)),
            ("between", (7, 3), (1, 2, 4, 5)),
            ("one", (1, 4), (1, 2, 3, 1)),
        ]:
            call = f"F.interpolate(x, size={size}, mode='bilinear', align_corners={corners})"
            one(f"bilinear_{label}_{name}", call, *shape)
    for op in ("avg", "max"):
        for name, size, shape in [
            ("divides", (2, 3), (2, 2, 4, 9)),
            ("overlaps", (3, 4), (1, 2, 7, 6)),
            ("mixed", (5, 2), (1, 2, 7, 5)),
            ("grows", (4, 5), (1, 2, 3, 2)),
        ]:
            one(f"adaptive_{op}_{name}", f"F.adaptive_{op}_pool2d(x, {size})", *shape)
        one(f"adaptive_{op}_one", f"F.adaptive_{op}_pool1d(x, 3)", 2, 2, 7)
    ties = integers("adaptive ties", 3, 1, 2, 7, 5).astype("float32")
    case("adaptive_max_ties", "F.adaptive_max_pool2d(x, (3, 2))", x=ties)
