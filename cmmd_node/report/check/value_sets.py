"""The value sets (PS3.16 context groups) that the template rows draw from: "code scheme meaning", one a line.

Kept apart from the codes that the writers use, so that neither can be wrong for the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_TABLES = {
    # CAD Processing and Finding Summary
    "CID 6047": """
        111241 DCM All algorithms succeeded; without findings
        111242 DCM All algorithms succeeded; with findings
        111243 DCM Not all algorithms succeeded; without findings
        111244 DCM Not all algorithms succeeded; with findings
        111245 DCM No algorithms succeeded; without findings
    """,
    # Result Status
    "CID 6042": """
        111222 DCM Succeeded
        111223 DCM Partially Succeeded
        111224 DCM Failed
        111225 DCM Not Attempted
    """,
    # CAD Output Intended Use
    "CID 6034": """
        111150 DCM Presentation Required: Rendering device is expected to present
        111151 DCM Presentation Optional: Rendering device may present
        111152 DCM Not for Presentation: Rendering device expected not to present
    """,
    # Mammography Single Image Finding
    "CID 6014": """
        111099 DCM Selected region
        111100 DCM Breast geometry
        111101 DCM Image Quality
        111102 DCM Non-lesion
        24142002 SCT Nipple
        129793001 SCT Mammography breast density
        129770007 SCT Individual Calcification
        129769006 SCT Calcification Cluster
        129792006 SCT Architectural distortion of breast
        129794007 SCT Tubular density
        443808008 SCT Intramammary lymph node
        129795008 SCT Trabecular thickening of breast
        129715009 SCT Breast composition
        129796009 SCT Skin retraction of breast
        129797000 SCT Skin thickening of breast
        127189005 SCT Axillary adenopathy
        95324001 SCT Skin lesion
        111111 DCM Cooper's ligament changes
        79654002 SCT Edema
        111112 DCM Mass in the skin
        111113 DCM Mass on the skin
        68171009 SCT Axillary lymph node
    """,
    # Mammography Composite Feature
    "CID 6016": """
        111459 DCM Mass with calcifications
        111099 DCM Selected region
        111100 DCM Breast geometry
        111101 DCM Image Quality
        111102 DCM Non-lesion
        24142002 SCT Nipple
        129793001 SCT Mammography breast density
        129770007 SCT Individual Calcification
        129769006 SCT Calcification Cluster
        129792006 SCT Architectural distortion of breast
        129794007 SCT Tubular density
        443808008 SCT Intramammary lymph node
        129795008 SCT Trabecular thickening of breast
        129715009 SCT Breast composition
        129796009 SCT Skin retraction of breast
        129797000 SCT Skin thickening of breast
        127189005 SCT Axillary adenopathy
        95324001 SCT Skin lesion
        111111 DCM Cooper's ligament changes
        79654002 SCT Edema
        111112 DCM Mass in the skin
        111113 DCM Mass on the skin
        68171009 SCT Axillary lymph node
        129788004 SCT Mammographic breast mass
        129789007 SCT Focal asymmetric breast tissue
        129790003 SCT Asymmetric breast tissue
    """,
    # Composite Feature Relation
    "CID 6035": """
        111153 DCM Target Content Items are related temporally
        111154 DCM Target Content Items are related spatially
        111155 DCM Target Content Items are related contra-laterally
    """,
    # Feature Scope
    "CID 6036": """
        111156 DCM Feature detected on the only image
        111157 DCM Feature detected on only one of the images
        111158 DCM Feature detected on multiple images
        111159 DCM Feature detected on images from multiple modalities
    """,
    # Side
    "CID 6022": """
        80248007 SCT Left breast
        73056007 SCT Right breast
        63762007 SCT Both breasts
    """,
    # View for Mammography
    "CID 4014": """
        399260004 SCT medial-lateral
        399368009 SCT medio-lateral oblique
        399352003 SCT latero-medial
        399099002 SCT latero-medial oblique
        399162004 SCT cranio-caudal
        399196006 SCT caudo-cranial
        399188001 SCT superolateral to inferomedial oblique
        441555000 SCT inferomedial to superolateral oblique
        399192008 SCT cranio-caudal exaggerated laterally
        399101009 SCT cranio-caudal exaggerated medially
        127457009 SCT tissue specimen from breast
    """,
    # View Modifier for Mammography
    "CID 4015": """
        399161006 SCT Cleavage
        399011000 SCT Axillary Tail
        399197002 SCT Rolled Lateral
        399226006 SCT Rolled Medial
        414493004 SCT Rolled Inferior
        415670009 SCT Rolled Superior
        399209000 SCT Implant Displaced
        399163009 SCT Magnification
        399055006 SCT Spot Compression
        399110001 SCT tangential
        442581004 SCT Nipple in profile
        441752004 SCT Anterior compression
        442593008 SCT Infra-mammary fold
        442580003 SCT Axillary tissue
    """,
    # Overall Breast Composition
    "CID 6000": """
        129716005 SCT Almost entirely fat
        129717001 SCT Scattered fibroglandular densities
        129718006 SCT Heterogeneously dense
        129719003 SCT Extremely dense
    """,
    # Mammography Shape Characteristic
    "CID 6004": """
        42700002 SCT Round shape
        84360004 SCT Ovoid shape (Oval)
        40266001 SCT Lobular
        49608001 SCT Irregular
    """,
    # Mammography Margin Characteristic
    "CID 6006": """
        129738007 SCT Circumscribed lesion
        129739004 SCT Microlobulated lesion
        129740002 SCT Obscured lesion
        129741003 SCT Indistinct lesion
        129742005 SCT Spiculated lesion
        111343 DCM Angular margins
    """,
    # Density Modifier
    "CID 6008": """
        129744006 SCT High density lesion
        129745007 SCT Equal density (isodense) lesion
        129746008 SCT Low density (not containing fat) lesion
        129747004 SCT Fat containing (radiolucent) lesion
    """,
    # Mammography Calcification Type
    "CID 6010": """
        129749001 SCT Coarse (popcorn-like) calcification
        129750001 SCT Dystrophic calcification
        129751002 SCT Eggshell calcification
        129752009 SCT Large rod-like calcification
        129753004 SCT Milk of calcium calcification
        129754005 SCT Lucent-centered calcification
        129755006 SCT Punctate calcification
        129756007 SCT Round shaped calcification
        129757003 SCT Calcified skin of breast
        129758008 SCT Calcified suture material
        129759000 SCT Vascular calcification
        129760005 SCT Amorphous calcification
        129761009 SCT Fine, linear (casting) calcification
        129762002 SCT Fine linear, branching (casting) calcification
        129763007 SCT Heterogeneous calcification
        111344 DCM Fine pleomorphic calcification
        44771000 SCT Microcalcifications of the breast
        111345 DCM Macrocalcifications
    """,
    # Calcification Distribution Modifier
    "CID 6012": """
        129764001 SCT Diffuse calcification distribution
        129765000 SCT Linear calcification distribution
        129766004 SCT Grouped calcification distribution
        129767008 SCT Regional calcification distribution
        129768003 SCT Segmental calcification distribution
        111346 DCM Calcifications within a mass
        111347 DCM Calcifications outside of a mass
    """,
    # Quadrant Location
    "CID 6020": """
        76365002 SCT Upper outer quadrant of breast
        19100000 SCT Lower inner quadrant of breast
        33564002 SCT Lower outer quadrant of breast
        77831004 SCT Upper inner quadrant of breast
    """,
    # Clockface Location or Region
    "CID 6018": """
        129778000 SCT 7 o'clock position
        129782003 SCT 11 o'clock position
        129783008 SCT 12 o'clock position
        78904004 SCT Chest wall
        129776001 SCT 5 o'clock position
        129774003 SCT 3 o'clock position
        129777005 SCT 6 o'clock position
        129775002 SCT 4 o'clock position
        129791004 SCT Axilla region
        129772004 SCT 1 o'clock position
        129779008 SCT 8 o'clock position
        129773009 SCT 2 o'clock position
        129786000 SCT Central region of breast
        129785001 SCT Axillary tail region
        129784002 SCT Subareolar region
        129780006 SCT 9 o'clock position
        129781005 SCT 10 o'clock position
    """,
    # Depth
    "CID 6024": """
        C25569 NCIt Middle
        255551008 SCT Posterior
        255549009 SCT Anterior
    """,
    # Mammography Assessment
    "CID 6026": """
        111120 DCM Post Procedure Mammograms for Marker Placement
        397138000 SCT 0 - Incomplete - Need additional imaging evaluation +/- priors
        397140005 SCT 1 - Negative
        397141009 SCT 2 - Benign
        397143007 SCT 3 - Probably Benign
        397144001 SCT 4 - Suspicious
        MA.II.A.5.4A BI 4A - Low suspicion
        MA.II.A.5.4B BI 4B - Intermediate suspicion
        MA.II.A.5.4C BI 4C - Moderate suspicion
        397145000 SCT 5 - Highly suggestive of malignancy
        MA.II.A.5.6 BI 6 - Known biopsy proven malignancy
    """,
    # Mammography Recommended Follow-up
    "CID 6028": """
        111121 DCM Follow-up post biopsy as directed by clinician
        371572003 SCT Nuclear medicine procedure
        386053000 SCT Evaluation procedure
        111410 DCM Surgical consult
        111135 DCM Additional projections
        399163009 SCT Magnification views
        399055006 SCT Spot Compression
        111136 DCM Spot magnification view(s)
        16310003 SCT Diagnostic ultrasonography
        111138 DCM Old films for comparison
        18102001 SCT Mammary ductogram
        111140 DCM Normal interval follow-up
        111141 DCM Any decision to biopsy should be based on clinical assessment
        111142 DCM Follow-up at short interval (1-11 months)
        111143 DCM Biopsy should be considered
        111144 DCM Needle localization and biopsy
        111145 DCM Histology using core biopsy
        111146 DCM Suggestive of malignancy - take appropriate action
        111147 DCM Cytologic analysis
        111148 DCM Biopsy should be strongly considered
        111149 DCM Highly suggestive of malignancy - take appropriate action
        111122 DCM Known biopsy proven malignancy - take appropriate action
        241615005 SCT MRI of breast
    """,
    # Change Since Last Mammogram or Prior Surgery
    "CID 6002": """
        129721008 SCT New finding
        129722001 SCT Finding partially removed
        129723006 SCT No significant changes in the finding
        15454001 SCT Increase in size
        19776001 SCT Decrease in size
        129726003 SCT Increase in number of calcifications
        129727007 SCT Decrease in number of calcifications
        129728002 SCT Less defined
        129729005 SCT More defined
        129730000 SCT Removal of implant since previous mammogram
        129731001 SCT Implant revised since previous mammogram
    """,
    # Follow-up Interval Unit
    "CID 6046": """
        d UCUM day
        wk UCUM week
        mo UCUM month
        a UCUM year
    """,
    # Nipple Characteristic
    "CID 6039": """
        31842008 SCT Normal shape
        271955004 SCT Nipple retraction
    """,
    # Mammography CAD Analysis Type
    "CID 6043": """
        133884007 SCT Spatial collocation analysis
        133885008 SCT Spatial proximity analysis
        133886009 SCT Temporal correlation
        133887000 SCT Image quality analysis
        133888005 SCT Focal asymmetric density analysis
        133889002 SCT Asymmetric breast tissue analysis
        133890006 SCT Breast composition analysis
        111233 DCM Individual Impression/Recommendation Analysis
        111234 DCM Overall Impression/Recommendation Analysis
    """,
    # Calculation Method
    "CID 6140": """
        414135002 SCT Estimated
        112187 DCM Unspecified method of calculation
        112055 DCM Agatston scoring method
        112056 DCM Volume scoring method
        112057 DCM Mass scoring method
        112188 DCM Two-dimensional method
        112189 DCM Three-dimensional method
    """,
    # Laterality of a paired body part
    "CID 244": """
        7771000 SCT Left
        24028007 SCT Right
    """,
    # What a finding is outside of CAD SR: not a group of the standard, but what our Segmentation says too
    "CID of findings": """
        4147007 SCT Mass
        129769006 SCT Calcification Cluster
    """,
    # Calculated Value
    "CID 6142": """
        112017 DCM Cavity extent as percent of volume
        112018 DCM Calcification extent as percent of surface
        112019 DCM Calcification extent as percent of volume
        112191 DCM Breast tissue density
        112192 DCM Volume of parenchymal tissue
        112193 DCM Volume of breast
        112194 DCM Mass of parenchymal tissue
        112195 DCM Mass of breast
        112196 DCM Area of Vascular Calcification
        112197 DCM Volume of Vascular Calcification
        112198 DCM Percentage of Vascular Calcification
        112199 DCM Mass of Vascular Calcification
        112200 DCM Average calcification distance in a calcification cluster
        112201 DCM Standard deviation distance of calcifications in a cluster
        450360000 SCT Coronary artery calcium score
    """,
}


def _parsed(table: str) -> Mapping[tuple[str, str], str]:
    rows = (line.split(maxsplit=2) for line in table.strip().splitlines())
    return MappingProxyType({(value, scheme): meaning for value, scheme, meaning in rows})


#: Name of the set to its members: (code, scheme) to meaning.
VALUE_SETS = {name: _parsed(table) for name, table in _TABLES.items()}
