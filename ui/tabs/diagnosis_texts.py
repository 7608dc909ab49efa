"""Explain each diagnosis in two plain sentences.

The keys are the names of the API's taxonomy. A network may know fewer, and a name without a text is shown
without one.
"""

from ui.translation import N_

DIAGNOSIS_TEXTS = {
    N_("Nevus"): N_(
        "A mole: a harmless cluster of the cells that give skin its colour. Most adults have many, and "
        "one that changes in size, shape or colour should be looked at."
    ),
    N_("Seborrheic Keratosis"): N_(
        "A harmless, often waxy or rough growth that looks stuck onto the skin. It is very common with "
        "age and needs no treatment unless it itches or bothers."
    ),
    N_("Pigmented Benign Keratosis"): N_(
        "A group name for harmless brown, thickened patches of the upper skin. They come with age and "
        "sunlight and do not turn into cancer."
    ),
    N_("Solar Lentigo"): N_(
        "An age spot: a flat brown patch where years of sun have left extra pigment. It is harmless "
        "itself, but it shows that the skin has had much sun."
    ),
    N_("Dermatofibroma"): N_(
        "A small, firm, harmless knot of scar-like tissue, often on the legs. It frequently follows an "
        "insect bite or a tiny injury and can stay for years."
    ),
    N_("Vascular Lesion"): N_(
        "A lesion made of small blood vessels, so it looks red, purple or nearly black. Most are harmless; "
        "one that bleeds or grows quickly should be looked at."
    ),
    N_("Lentigo NOS"): N_(
        "A flat brown patch with more pigment than the skin around it, of a kind that the picture alone "
        "does not settle. Such patches are usually harmless."
    ),
    N_("Lichenoid Keratosis"): N_(
        "A harmless patch that appears when the immune system breaks down an age spot or a keratosis. It "
        "can be pink, grey or brown, and it often fades by itself."
    ),
    N_("Lentigo Simplex"): N_(
        "A small, evenly brown, flat patch that does not depend on sunlight. It often appears in childhood "
        "and is harmless."
    ),
    N_("AIMP"): N_(
        "Short for atypical intraepidermal melanocytic proliferation: unusual pigment cells in the top "
        "layer of the skin. It counts as benign here, but doctors often remove it or watch it closely."
    ),
    N_("Angioma"): N_(
        "A small, bright red or purple bump made of blood vessels. It is harmless and becomes more common "
        "with age."
    ),
    N_("Neurofibroma"): N_(
        "A soft, harmless lump that grows from the covering of a small nerve. One alone is common; "
        "several of them are a reason to ask a doctor about an inherited cause."
    ),
    N_("Scar"): N_(
        "Firm tissue that the body makes while a wound heals. It is harmless, and it usually turns paler "
        "and flatter over months."
    ),
    N_("Verruca"): N_(
        "A wart: a rough growth that a common virus causes. It is harmless, can spread by touch and often "
        "goes away by itself."
    ),
    N_("Acrochordon"): N_(
        "A skin tag: a small, soft flap of skin on a thin stalk, often where skin rubs. It is harmless "
        "and can be removed if it catches on clothes."
    ),
    N_("Angiofibroma"): N_(
        "A small, firm, harmless bump of fibrous tissue and blood vessels, mostly on the face. Many of "
        "them together are a reason to ask a doctor about an inherited cause."
    ),
    N_("Fibrous Papule"): N_(
        "A small, firm, skin-coloured bump, typically on the nose. It is harmless, but it can resemble a "
        "basal cell carcinoma, so a doctor sometimes tests it."
    ),
    N_("Café-au-lait Macule"): N_(
        "An even, light brown, flat birthmark with a clear edge. One or two are common and harmless; six "
        "or more are a reason to ask a doctor."
    ),
    N_("Angiokeratoma"): N_(
        "A dark red to black, slightly rough lesion of widened blood vessels. It is harmless, but it can "
        "look like a melanoma, so a new one is worth showing."
    ),
    N_("Clear Cell Acanthoma"): N_(
        "A rare, harmless, shiny red bump or patch, mostly on the lower leg. It grows slowly and can be "
        "removed if it bothers."
    ),
    N_("Melanoma"): N_(
        "A cancer of the cells that give skin its colour, and the most dangerous common skin cancer. "
        "Found early it can usually be cured, so have a doctor look soon."
    ),
    N_("Basal Cell Carcinoma"): N_(
        "The most common skin cancer, slow growing and mostly on skin that gets sun. It very rarely "
        "spreads, but it damages what is around it and should be treated."
    ),
    N_("Actinic Keratosis"): N_(
        "A rough, scaly patch caused by years of sun. It is counted as malignant here because some turn "
        "into a squamous cell carcinoma, and it is easy to treat early."
    ),
    N_("Squamous Cell Carcinoma"): N_(
        "A common skin cancer of the upper skin, often a scaly, crusted or open sore. It can spread if it "
        "is left alone, and early treatment usually cures it."
    ),
    N_("Melanoma Metastasis"): N_(
        "A melanoma that has spread to another place in the skin or the body. It needs a doctor's care "
        "without delay."
    ),
    N_("Atypical Melanocytic Proliferation"): N_(
        "Pigment cells that have grown in an unusual way, so that harmless and cancerous cannot be told "
        "apart by eye. A doctor usually removes it and has it examined."
    ),
    N_("Atypical Spitz Tumor"): N_(
        "An unusual, mostly pink or brown bump of pigment cells, more often in young people. It lies "
        "between a mole and a melanoma, so it is removed and examined."
    ),
}
